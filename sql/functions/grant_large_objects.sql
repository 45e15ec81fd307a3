-- Lets sidecars with nothing but the role sidecar_worker read the large objects that an attached column names; returns how
-- many. For their owner. From PostgreSQL 18 on, those to come can be covered once and for all with
-- ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO sidecar_worker.
create or replace function sidecar.grant_large_objects(target regclass, source_column name)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.whole_attachment(target, source_column);
  named oid;
  granted bigint := 0;
begin
  if x.source <> 'large_object' then
    raise exception 'column % of % holds no large objects', quote_ident(source_column), target
      using errcode = 'wrong_object_type',
        hint = 'Nothing needs to be granted.';
  end if;
  for named in execute format(
    'select distinct m.oid
    from %s t
    join pg_largeobject_metadata m on m.oid = t.%I::oid
    where not exists (
      select
      from aclexplode(m.lomacl) a
      where a.grantee in (0, %L::regrole) and a.privilege_type = ''SELECT''
    )',
    x.target, sidecar.column_name(x.target, x.source_attnum), 'sidecar_worker'
  )
  loop
    execute format('grant select on large object %s to sidecar_worker', named);
    granted := granted + 1;
  end loop;
  return granted;
end
$$;
