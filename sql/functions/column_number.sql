-- The number of a column; NULL where there is none of this name.
create or replace function sidecar.column_number(target regclass, name name)
returns smallint
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select a.attnum
  from pg_attribute a
  where a.attrelid = column_number.target
    and a.attname = column_number.name
    and a.attnum > 0
    and not a.attisdropped
$$;
