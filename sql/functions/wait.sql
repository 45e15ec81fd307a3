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
  -- A block that has written: no sidecar sees it. Of one that has not, the COMMIT below tells.
  if pg_catalog.pg_current_xact_id_if_assigned() is not null then
    raise exception 'sidecar.wait cannot be called inside a transaction block'
      using errcode = 'active_sql_transaction',
        hint = 'COMMIT first: rows are embedded once they are committed. Drivers need autocommit for the call.';
  end if;
  while not sidecar.wait_for(target, source_column, since, timeout) loop
    commit;
    perform pg_catalog.pg_sleep(0.02);
  end loop;
end
$$;
