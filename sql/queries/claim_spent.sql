-- $1 attachment, $2 key, $3 length of the lease in seconds, $4 most attempts: one row whose attempts are spent, if it still
-- is there, free, and not locked by the application
with chosen as materialized (
  select p.ctid as row
  from sidecar.pending p
  where p.attachment = $1
    and p.key = $2::jsonb
    and p.attempts >= $4
    and (p.lease_until is null or p.lease_until < clock_timestamp())
  for update skip locked
)
update sidecar.pending p
set lease_token = nextval('sidecar.lease_token'),
  lease_until = clock_timestamp() + make_interval(secs => $3),
  attempts = p.attempts + 1
from chosen c, sidecar.attachment a
where p.ctid = c.row
  and a.id = p.attachment
returning p.attachment, p.key::text, p.generation, p.attempts, p.lane, p.lease_token, a.modality
