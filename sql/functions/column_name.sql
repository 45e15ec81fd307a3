-- The current name of a column that was noted by number; NULL when it was dropped.
create or replace function sidecar.column_name(target regclass, attnum smallint)
returns name
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select a.attname
  from pg_attribute a
  where a.attrelid = column_name.target
    and a.attnum = column_name.attnum
    and not a.attisdropped
$$;
