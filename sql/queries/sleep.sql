-- $1 seconds until a notification for queued rows is no longer wanted; 0: the sidecar is awake
select setval(
  'sidecar.bell',
  case when $1::float8 = 0 then 1 else ceil(extract(epoch from clock_timestamp()) + $1)::bigint end
)
from sidecar.bell b
where case
  when $1 = 0 then b.last_value > extract(epoch from clock_timestamp())
  else b.last_value < extract(epoch from clock_timestamp()) + $1 / 2
end
