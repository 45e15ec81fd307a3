-- The roles, as far as nothing else needs them: they belong to the whole cluster, and another of its databases may use them.
-- Their rights in this database go in any case. Not by DROP OWNED where they have some elsewhere: it would take their rights on
-- other databases too, CONNECT for one. Nor where such a role came to own something here: it would drop that.
do $$
declare
  made name;
  here constant oid := (select d.oid from pg_database d where d.datname = current_database());
  elsewhere boolean;
  lent record;
begin
  foreach made in array array['sidecar_worker', 'sidecar_user', 'sidecar_admin', 'sidecar_loopback_' || here]::name[] loop
    continue when to_regrole(made) is null;
    select coalesce(bool_or(s.dbid not in (0, here) or s.dbid = 0 and s.objid <> here), false)
    into elsewhere
    from pg_shdepend s
    where s.refclassid = 'pg_authid'::regclass and s.refobjid = to_regrole(made);
    begin
      if elsewhere then
        for lent in select n.nspname from pg_namespace n, aclexplode(n.nspacl) a where a.grantee = to_regrole(made)::oid loop
          execute format('revoke all on schema %I from %I', lent.nspname, made);
        end loop;
        execute format('revoke all on database %I from %I', current_database(), made);
        continue;
      end if;
      continue when exists (
        select
        from pg_shdepend s
        where s.refclassid = 'pg_authid'::regclass and s.refobjid = to_regrole(made) and s.deptype = 'o'
      );
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
  end loop;
end
$$
