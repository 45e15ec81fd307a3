-- The table that now has the name under which another was attached, with such a column that is not attached; else NULL.
-- So it is after CREATE TABLE new, ALTER TABLE old RENAME, ALTER TABLE new RENAME.
create or replace function sidecar.replacement_of(x sidecar.attachment)
returns regclass
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select c.oid::regclass
  from pg_class c
  join pg_attribute s on s.attrelid = c.oid and s.attname = x.source_column and not s.attisdropped and s.attnum > 0
  where c.oid = to_regclass(x.target_name)
    and c.oid <> x.target
    and c.relkind in ('r', 'p')
    and sidecar.type_holds(s.atttypid) is not null
    and not exists (select from sidecar.attachment o where o.target = c.oid and o.source_attnum = s.attnum)
$$;
