-- $1 id, $2 host, $3 pid, $4 backend pid, $5 device, $6 model, $7 version, $8 items per second
insert into sidecar.worker (id, host, pid, backend_pid, device, model, version, items_per_second)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (id) do update
set last_heartbeat = clock_timestamp(),
  backend_pid = excluded.backend_pid,
  items_per_second = excluded.items_per_second
returning exists (select from sidecar.model m where m.name = $6)
