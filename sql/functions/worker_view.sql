-- The qualified name of a view that make_worker_views made, as SQL; NULL where it is gone, or is another owner's. It is in
-- the companion's schema; where the companion was dropped, most likely in that of the source table.
create or replace function sidecar.worker_view(attachment integer, kind text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format('%I.%I', n.nspname, v.relname)
  from sidecar.attachment x
  join pg_class e on e.oid = coalesce((select c.oid from pg_class c where c.oid = x.embedding_table), x.target)
  join pg_namespace n on n.oid = e.relnamespace
  join pg_class v
    on v.relnamespace = e.relnamespace
    and v.relname = format('sidecar_%s_%s', x.id, kind)
    and v.relkind = 'v'
    and v.relowner = e.relowner
  where x.id = worker_view.attachment
$$;
