-- $1 model: the deployment's model changes to it, unless a live sidecar serves the other one still
update sidecar.model m
set serving = false
where m.serving
  and m.name <> $1
  and not exists (
    select
    from sidecar.worker w
    where w.model = m.name
      and w.last_heartbeat > clock_timestamp() - interval '10 s'
  )
