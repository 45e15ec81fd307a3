-- The roles, as far as nothing else needs them: they belong to the whole cluster. Their rights in this database go in any
-- case, unless such a role came to own something here: DROP OWNED would drop that too.
do $$
declare
  made name;
begin
  foreach made in array array[
    'sidecar_worker',
    'sidecar_user',
    'sidecar_admin',
    'sidecar_loopback_' || (select d.oid from pg_database d where d.datname = current_database())
  ]::name[] loop
    if to_regrole(made) is not null
      and not exists (
        select
        from pg_shdepend s
        where s.refclassid = 'pg_authid'::regclass
          and s.refobjid = to_regrole(made)
          and s.deptype = 'o'
          and s.dbid in (0, (select d.oid from pg_database d where d.datname = current_database()))
      )
    then
      begin
        execute format('drop owned by %I', made);
      exception
        when insufficient_privilege then
          null;
      end;
      begin
        execute format('drop role %I', made);
      exception
        when dependent_objects_still_exist or insufficient_privilege or undefined_object then
          null;
      end;
    end if;
  end loop;
end
$$
