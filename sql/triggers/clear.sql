-- TRUNCATE of an attached table: nothing of it is pending any more. The argument is the attachment.
create or replace function sidecar.clear()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from sidecar.pending where attachment = tg_argv[0]::integer;
  delete from sidecar.failure where attachment = tg_argv[0]::integer;
  return null;
end
$$;
