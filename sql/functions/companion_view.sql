-- The view that shows a companion's vectors as a column of the source table: the one that make_view left its mark on.
-- Found by what it reads, for it may have been renamed.
create or replace function sidecar.companion_view(attachment integer)
returns regclass
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select v.oid::regclass
  from sidecar.attachment x
  join pg_depend d
    on d.refclassid = 'pg_class'::regclass
    and d.refobjid = x.embedding_table
    and d.classid = 'pg_rewrite'::regclass
  join pg_rewrite r on r.oid = d.objid
  join pg_class e on e.oid = x.embedding_table
  join pg_class v on v.oid = r.ev_class and v.relkind = 'v' and v.relowner = e.relowner
  where x.id = companion_view.attachment
    and x.storage = 'table'
    and obj_description(v.oid, 'pg_class') like 'sidecar: %'
  order by v.oid
  limit 1
$$;
