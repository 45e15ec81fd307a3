-- $1 seconds until a notification for queued rows is no longer wanted; 0: the sidecar is awake
update sidecar.bell
set asleep_until = case
  when $1::float8 = 0 then '-infinity'
  else greatest(asleep_until, clock_timestamp() + make_interval(secs => $1))
end
where case
  when $1::float8 = 0 then asleep_until > clock_timestamp()
  else asleep_until < clock_timestamp() + make_interval(secs => $1 / 2)
end
