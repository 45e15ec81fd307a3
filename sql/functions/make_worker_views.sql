-- The two views by which a sidecar reaches a companion table and the keys of its source table, and nothing else of either.
-- Both run with the rights of the tables' owner, and are for the role sidecar_worker alone.
-- sidecar_N_rows: key and content hash of the source rows. They can be locked through it, and not changed: a join is no
-- updatable view.
-- sidecar_N_vectors: the companion table, past its row-level security.
-- Columns have names of their own here, so a column that is renamed in a table changes nothing.
create or replace function sidecar.make_worker_views(attachment integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  relation record;
  made text;
begin
  select * into strict x from sidecar.attachment a where a.id = make_worker_views.attachment;
  if x.storage <> 'table' then
    return;
  end if;
  select n.nspname as schema, pg_get_userbyid(c.relowner) as owner
  into relation
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = x.embedding_table;
  -- What somebody else has put there may carry rules of its own.
  foreach made in array array['rows', 'vectors'] loop
    if to_regclass(format('%I.sidecar_%s_%s', relation.schema, x.id, made)) is not null
      and sidecar.worker_view(x.id, made) is null
    then
      raise exception 'the name %.sidecar_%_% is taken, and the sidecar needs a view called so',
        quote_ident(relation.schema), x.id, made
        using errcode = 'duplicate_table',
          hint = 'Drop or rename what has that name; sidecar.doctor() shows when all is well.';
    end if;
  end loop;
  execute format(
    'create or replace view %I.sidecar_%s_rows as
    select %s, %s as content_hash
    from %s t, (select 1) as no_updates',
    relation.schema, x.id,
    (select string_agg(format('t.%I as k%s', k.source_name, k.place), ', ' order by k.place) from sidecar.companion_keys(x.id) k),
    sidecar.content_hash(x.modality, format('t.%I', sidecar.column_name(x.target, x.source_attnum))),
    sidecar.target_table(x.id)
  );
  execute format(
    'create or replace view %I.sidecar_%s_vectors as
    select %s, e.%I as embedding, e.%I as model, e.%I as content_hash, e.%I as embedded_at
    from %s e',
    relation.schema, x.id,
    (select string_agg(format('e.%I as k%s', k.name, k.place), ', ' order by k.place) from sidecar.companion_keys(x.id) k),
    sidecar.column_name(x.embedding_table, x.embedding_attnum),
    sidecar.column_name(x.embedding_table, x.embedding_attnum + 1::smallint),
    sidecar.column_name(x.embedding_table, x.embedding_attnum + 2::smallint),
    sidecar.column_name(x.embedding_table, x.embedding_attnum + 3::smallint),
    x.embedding_table
  );
  foreach made in array array['rows', 'vectors'] loop
    made := format('%I.sidecar_%s_%s', relation.schema, x.id, made);
    execute format('alter view %s owner to %I', made, relation.owner);
    perform sidecar.copy_rights(x.target, made::regclass, readers => false);
    execute format('comment on view %s is %L', made, 'For the sidecar alone; sidecar.detach drops it');
  end loop;
  -- The trigger of on_change => 'clear' runs as the owner of our functions.
  execute format(
    'grant select, delete on %I.sidecar_%s_vectors to %I',
    relation.schema, x.id,
    (select pg_get_userbyid(p.proowner) from pg_proc p where p.oid = 'sidecar.drop_trigger_functions(integer)'::regprocedure)
  );
end
$$;
