-- $1 most attempts: rows that were tried once more, alone, after sidecars had died with them, and died with them again. A row
-- that the application is changing right now is passed over: it starts anew.
with spent as materialized (
  select p.ctid as row
  from sidecar.pending p
  where p.attempts > $1
    and p.lease_until < clock_timestamp()
  for update skip locked
),
crashed as (
  delete from sidecar.pending p
  using spent s
  where p.ctid = s.row
  returning p.attachment, p.key, p.attempts
)
insert into sidecar.failure (attachment, key, error, message, attempts)
select
  attachment,
  key,
  'crashed',
  'The sidecar stopped while it worked on this row, ' || attempts || ' times, at last on this row alone; if the'
    || ' sidecars were killed for another reason, sidecar.retry() tries it again.',
  attempts
from crashed
on conflict (attachment, key) do update
set error = excluded.error,
  message = excluded.message,
  attempts = excluded.attempts,
  failed_at = now()
