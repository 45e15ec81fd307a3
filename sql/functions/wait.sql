-- Returns when no row that was committed before the call is pending. Not in a transaction block, for it commits between
-- its looks and so holds nothing.
create or replace procedure sidecar.wait(
  target regclass,
  source_column name default null,
  timeout interval default '30s'
)
language plpgsql
as $$
declare
  since timestamp with time zone := pg_catalog.clock_timestamp();
begin
  while not sidecar.wait_for(target, source_column, since, timeout) loop
    commit;
    perform pg_catalog.pg_sleep(0.02);
  end loop;
end
$$;
