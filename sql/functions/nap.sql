-- Sleeps this many seconds, between two looks for an answer. A function of its own for the same reason as sidecar.refuse:
-- here a waiting question is cancelled, and the log of that shall not hold it.
create or replace function sidecar.nap(seconds double precision)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_sleep(seconds);
end
$$;
