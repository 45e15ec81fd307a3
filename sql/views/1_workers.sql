-- Sidecars that are alive: a heartbeat within 10 s.
drop view if exists sidecar.workers;
create view sidecar.workers as
select w.host, w.pid, w.role, w.device, w.model, w.version, w.items_per_second, w.last_heartbeat, w.started_at
from sidecar.worker w
where w.last_heartbeat > clock_timestamp() - interval '10 s';
