-- Source rows given up on, of the tables that the caller may read. sidecar.retry() queues them again.
drop view if exists sidecar.failures;
create view sidecar.failures with (security_barrier) as
select
  a.target,
  sidecar.column_name(a.target, a.source_attnum) as source_column,
  f.key,
  f.error,
  f.message,
  f.attempts,
  f.failed_at as last_attempt,
  a.id as attachment
from sidecar.failure f
join sidecar.attachment a on a.id = f.attachment
where has_table_privilege(a.target, 'select');
