-- $1 attachments, $2 embedded, $3 failed, $4 truncated since the last call
insert into sidecar.progress (attachment, minute, embedded, failed, truncated)
select k.attachment, date_trunc('minute', clock_timestamp()), k.embedded, k.failed, k.truncated
from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[])
  as k (attachment, embedded, failed, truncated)
order by k.attachment
on conflict (attachment, minute) do update
set embedded = progress.embedded + excluded.embedded,
  failed = progress.failed + excluded.failed,
  truncated = progress.truncated + excluded.truncated
