-- Gives a relation that attach made the rights of its source table: who may SELECT all of that may select here. Nobody
-- else may anything: default privileges (ALTER DEFAULT PRIVILEGES) would let more in. TRUNCATE goes along with a table,
-- for TRUNCATE ... CASCADE of the source asks for it. `readers` false: the owner alone.
create or replace function sidecar.copy_rights(source regclass, relation regclass, readers boolean)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  held record;
begin
  for held in
    select distinct r.grantee, case r.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(r.grantee)) end as name
    from pg_class c
    cross join lateral aclexplode(c.relacl) r
    where c.oid = relation and r.grantee <> c.relowner
  loop
    execute format('revoke all on %s from %s', relation, held.name);
  end loop;
  for held in
    select distinct r.privilege_type, case r.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(r.grantee)) end as name
    from pg_class c
    join pg_class m on m.oid = relation
    cross join lateral aclexplode(c.relacl) r
    where c.oid = source
      and r.grantee <> m.relowner
      and readers
      and (r.privilege_type = 'SELECT' or r.privilege_type = 'TRUNCATE' and m.relkind = 'r')
  loop
    execute format('grant %s on %s to %s', held.privilege_type, relation, held.name);
  end loop;
end
$$;
