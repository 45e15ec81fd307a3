-- Three roles without login, for GRANT: sidecar_worker runs a sidecar, sidecar_user looks and searches, sidecar_admin
-- attaches. They belong to the whole cluster, so they may be there already, or appear while this runs.
do $$
declare
  wanted name;
begin
  foreach wanted in array array['sidecar_worker', 'sidecar_user', 'sidecar_admin']::name[] loop
    if to_regrole(wanted) is null then
      begin
        execute format('create role %I nologin', wanted);
      exception
        when duplicate_object or unique_violation then
          null;
        when insufficient_privilege then
          raise notice 'the role % is missing; let an administrator run: CREATE ROLE % NOLOGIN; GRANT % TO <who needs it>; then run sidecar migrate again',
            wanted, wanted, wanted;
      end;
    end if;
  end loop;
end
$$
