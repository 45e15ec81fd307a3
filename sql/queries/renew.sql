-- $1 attachments, $2 keys, $3 tokens, $4 length of the lease in seconds
-- A row that the application is changing right now is passed over: its result will be thrown away anyway.
with mine as materialized (
  select p.attachment, p.key
  from unnest($1::integer[], $2::jsonb[], $3::bigint[]) as k (attachment, key, token)
  join sidecar.pending p
    on p.attachment = k.attachment
    and p.key = k.key
    and p.lease_token = k.token
  order by p.attachment, p.key
  for update of p skip locked
)
update sidecar.pending p
set lease_until = clock_timestamp() + make_interval(secs => $4)
from mine m
where p.attachment = m.attachment
  and p.key = m.key
returning p.lease_token
