-- Large objects that an attachment names and sidecar_worker may not read. A sample of the rows: all of a large table would
-- take long. None of a table whose policies would decide which rows the caller sees: they are code of its owner.
create or replace function sidecar.doctor_of_large_objects(x sidecar.attachment)
returns table (severity text, finding text, mend text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  source name := sidecar.column_name(x.target, x.source_attnum);
  forbidden bigint;
begin
  if x.source <> 'large_object' or source is null or to_regrole('sidecar_worker') is null
    or current_setting('lo_compat_privileges')::boolean
    or row_security_active(x.target)
  then
    return;
  end if;
  execute format(
    'select count(*)
    from (select t.%I::oid as named from %s t where t.%I is not null limit 1000) s
    join pg_largeobject_metadata m on m.oid = s.named
    where not exists (
      select
      from aclexplode(m.lomacl) a
      where a.grantee in (0, ''sidecar_worker''::regrole) and a.privilege_type = ''SELECT''
    )',
    source, x.target, source
  )
  into forbidden;
  if forbidden > 0 then
    return query select
      'warning',
      format(
        'large objects of %s.%I cannot be read by the role sidecar_worker (%s of the first 1000 rows)',
        x.target, source, forbidden
      ),
      format('SELECT sidecar.grant_large_objects(%L, %L);', x.target, source);
  end if;
end
$$;
