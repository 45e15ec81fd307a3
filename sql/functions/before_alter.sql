-- PostgreSQL changes no type of a column that a trigger names. In one transaction: SELECT sidecar.before_alter('products');
-- ALTER TABLE products ALTER COLUMN name TYPE varchar(200); SELECT sidecar.after_alter('products');
-- Takes the triggers of all attachments of a table away; vectors and queue stay. Locks: ACCESS EXCLUSIVE, as ALTER TABLE.
create or replace function sidecar.before_alter(target regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  -- First and for good: no write may come between this and after_alter.
  execute format('lock table %s in access exclusive mode', target);
  perform sidecar.drop_triggers(a.id) from sidecar.attachment a where a.target = before_alter.target order by a.id;
end
$$;
