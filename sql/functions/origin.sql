-- Which table of which database this is, by number: that of the table and that of sidecar.attachment. pg_restore gives both
-- new numbers, and numbers the columns anew; pg_upgrade keeps them all.
create or replace function sidecar.origin(target regclass)
returns oid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array[origin.target::oid, 'sidecar.attachment'::regclass::oid]
$$;
