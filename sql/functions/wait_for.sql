-- One look of sidecar.wait: done, or an error when waiting cannot help, or past the deadline.
create or replace function sidecar.wait_for(
  target regclass,
  source_column name,
  since timestamptz,
  patience interval
)
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.find_attachment(target, source_column);
  waiting bigint;
begin
  if not has_table_privilege(x.target, 'select') then
    raise exception 'permission denied for table %', x.target
      using errcode = 'insufficient_privilege',
        hint = format('Who waits must be allowed to see what is pending: GRANT SELECT ON %s TO %I;', x.target, current_user);
  end if;
  if exists (select from sidecar.attachment_fault(x)) then
    raise exception '%', (select f.finding from sidecar.attachment_fault(x) f)
      using errcode = 'object_not_in_prerequisite_state',
        hint = (select f.mend from sidecar.attachment_fault(x) f);
  end if;
  -- Backfill and retries stand for rows that were there before, whenever they were queued.
  if x.backfill = 'done' and not exists (
    select
    from sidecar.queue q
    where q.attachment = x.id
      and (q.queued_at <= since or q.lane <> 'fresh')
  ) then
    return true;
  end if;
  if x.paused then
    raise exception '% is paused', x.target
      using errcode = 'object_not_in_prerequisite_state',
        hint = format(
          'SELECT sidecar.resume(%L, %L);', x.target, sidecar.column_name(x.target, x.source_attnum)
        );
  end if;
  if not exists (select from sidecar.workers w where w.model = coalesce(x.model, w.model)) then
    raise exception 'no sidecar is running that could embed %', x.target
      using errcode = 'object_not_in_prerequisite_state',
        hint = format('Start one%s with: sidecar run', coalesce(' for the model ' || x.model, ''));
  end if;
  if clock_timestamp() > since + patience then
    select count(*) into waiting from sidecar.queue q where q.attachment = x.id;
    raise exception using
        errcode = 'query_canceled',
        message = format(
          '%s rows of %s are still pending after %s%s',
          waiting, x.target, patience, case x.backfill when 'done' then '' else ', and its backfill goes on' end
        ),
        hint = 'Wait longer: timeout => ''5min''. SELECT * FROM sidecar.status; shows the rate and what is left.';
  end if;
  return false;
end
$$;
