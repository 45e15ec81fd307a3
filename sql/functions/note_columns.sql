-- Brings the names and numbers in sidecar.attachment up to date: names after a RENAME, so that a dump holds the current ones,
-- and numbers after pg_restore, where the trigger functions are written anew too. Waits for nobody: what is locked is noted
-- the next time. With the rights of the schema's owner, for it is about all tables, whoever asks.
create or replace function sidecar.note_columns()
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set check_function_bodies = off
as $$
declare
  restored integer[];
begin
  with stale as materialized (
    select
      a.id,
      a.origin as known_origin,
      l.source_column,
      l.source_attnum,
      l.embedding_column,
      l.embedding_attnum,
      l.key_attnums,
      l.origin
    from sidecar.attachment a
    cross join lateral sidecar.located(a) l
    where (a.source_column, a.source_attnum, a.embedding_column, a.embedding_attnum, a.key_attnums, a.origin)
      is distinct from (l.source_column, l.source_attnum, l.embedding_column, l.embedding_attnum, l.key_attnums, l.origin)
    order by a.id
    for update of a skip locked
  ),
  noted as (
    update sidecar.attachment a
    set source_column = s.source_column,
      source_attnum = s.source_attnum,
      embedding_column = s.embedding_column,
      embedding_attnum = s.embedding_attnum,
      key_attnums = s.key_attnums,
      origin = s.origin
    from stale s
    where a.id = s.id
    returning a.id, s.known_origin <> a.origin as restored
  )
  select array_agg(n.id order by n.id) into restored from noted n where n.restored;
  perform sidecar.install_trigger_functions(r.id) from unnest(restored) as r (id);
end
$$;
