-- The columns of a table's primary key, by number and in its order; NULL where it has none.
create or replace function sidecar.primary_key(target regclass)
returns smallint[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select (i.indkey::smallint[])[0:i.indnkeyatts - 1]
  from pg_index i
  where i.indrelid = primary_key.target
    and i.indisprimary
$$;
