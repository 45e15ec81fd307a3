-- SQL text that joins companion and source table: e.id = t.id.
create or replace function sidecar.companion_join(attachment integer, companion text, source text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select string_agg(
    format('%s.%I %s %s.%I', companion_join.companion, k.name, k.equals, companion_join.source, k.source_name),
    ' and '
    order by k.place
  )
  from sidecar.companion_keys(companion_join.attachment) k
$$;
