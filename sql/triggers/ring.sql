-- Wakes a sleeping sidecar, once a statement, and only while one sleeps: a NOTIFY takes a lock that every
-- committing transaction of the database shares, so a busy sidecar is not rung.
create or replace function sidecar.ring()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if clock_timestamp() < to_timestamp(pg_sequence_last_value('sidecar.bell')) then
    perform pg_notify('sidecar', '');
  end if;
  return null;
end
$$;
