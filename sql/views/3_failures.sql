-- Source rows given up on, of the tables that the caller may read. Where row-level security hides rows of a table from the
-- caller, all keys and messages are NULL. sidecar.retry() queues them again.
drop view if exists sidecar.failures;
create view sidecar.failures with (security_barrier) as
select
  a.target,
  sidecar.column_name(a.target, a.source_attnum) as source_column,
  case when not row_security_active(a.target) then f.key end as key,
  f.error,
  case when not row_security_active(a.target) then f.message end as message,
  f.attempts,
  f.failed_at as last_attempt,
  a.id as attachment
from sidecar.failure f
join sidecar.attachment a on a.id = f.attachment
where has_table_privilege(a.target, 'select');
