-- Who may do what. Every upgrade says it again, so that new tables and views are covered; rights beyond these that an
-- administrator gave stay.
do $$
declare
  object record;
begin
  if to_regrole('sidecar_worker') is not null then
    grant usage on schema sidecar to sidecar_worker;
    grant usage on all sequences in schema sidecar to sidecar_worker;
    grant select, update on sequence sidecar.bell to sidecar_worker;
    for object in
      select c.oid::regclass as name
      from pg_class c
      where c.relnamespace = 'sidecar'::regnamespace and c.relkind = 'r' and c.relname <> 'alembic_version'
    loop
      execute format('grant select, insert, update, delete on %s to sidecar_worker', object.name);
    end loop;
    grant select on sidecar.alembic_version to sidecar_worker;
  end if;

  if to_regrole('sidecar_user') is not null then
    grant usage on schema sidecar to sidecar_user;
    grant select on sidecar.attachment, sidecar.model to sidecar_user;
    for object in
      select c.oid::regclass as name
      from pg_class c
      where c.relnamespace = 'sidecar'::regnamespace and c.relkind = 'v'
    loop
      execute format('grant select on %s to sidecar_user', object.name);
    end loop;
  end if;

  if to_regrole('sidecar_admin') is not null then
    grant usage on schema sidecar to sidecar_admin;
    grant select on sidecar.model to sidecar_admin;
    grant select, insert, update, delete on sidecar.attachment to sidecar_admin; -- of its own tables: guard_attachment
    grant insert, update on sidecar.own_pending to sidecar_admin;
    grant delete on sidecar.own_failure to sidecar_admin;
    for object in
      select c.oid::regclass as name
      from pg_class c
      where c.relnamespace = 'sidecar'::regnamespace and c.relkind = 'v'
    loop
      execute format('grant select on %s to sidecar_admin', object.name);
    end loop;
    grant execute on function
      sidecar.install_trigger_functions(integer),
      sidecar.drop_trigger_functions(integer)
    to sidecar_admin;
  end if;

  -- They run inside SECURITY DEFINER functions, and are not for anybody else.
  revoke execute on function
    sidecar.recall(text[], bytea),
    sidecar.vectors_of(text[], bytea),
    sidecar.loopback(text),
    sidecar.loopback_address(),
    sidecar.open_loopback(text, text),
    sidecar.install_trigger_functions(integer),
    sidecar.drop_trigger_functions(integer),
    sidecar.forget_attachment()
  from public;
end
$$
