-- The schema holds Alembic's version table too, so it exists before the first migration runs.
do $$
begin
  perform set_config('lock_timeout', '5s', true);
  if to_regnamespace('sidecar') is null then
    create schema sidecar;
  end if;
end
$$
