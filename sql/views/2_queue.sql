-- Source rows that wait to be embedded, of the tables that the caller may read: keys are content. Where row-level security
-- hides rows of a table from the caller, all keys are NULL. security_barrier, so that no function in a query sees the others
-- before they are taken away.
drop view if exists sidecar.queue;
create view sidecar.queue with (security_barrier) as
select
  a.id as attachment,
  a.target,
  sidecar.column_name(a.target, a.source_attnum) as source_column,
  case when not row_security_active(a.target) then p.key end as key,
  case p.lane when 1 then 'fresh' when 2 then 'retry' else 'backfill' end as lane,
  p.attempts,
  p.due_at,
  p.queued_at,
  p.lease_until as leased_until
from sidecar.pending p
join sidecar.attachment a on a.id = p.attachment
where has_table_privilege(a.target, 'select');
