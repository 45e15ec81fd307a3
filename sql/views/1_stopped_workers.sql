-- Sidecars that have stopped without saying so, as long as they are remembered.
drop view if exists sidecar.stopped_workers;
create view sidecar.stopped_workers as
select w.host, w.pid, w.last_heartbeat
from sidecar.worker w
where w.last_heartbeat <= clock_timestamp() - interval '10 s';
