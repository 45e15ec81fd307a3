-- The foreign server, and dblink where migrate made it and nothing else came to depend on it.
do $$
begin
  drop server if exists sidecar_loopback cascade;
  if exists (
    select
    from pg_extension e
    where e.extname = 'dblink'
      and obj_description(e.oid, 'pg_extension') = 'made by sidecar migrate, for sidecar.embed_text'
  ) then
    begin
      drop extension dblink;
    exception
      when dependent_objects_still_exist or insufficient_privilege then
        null;
    end;
  end if;
end
$$
