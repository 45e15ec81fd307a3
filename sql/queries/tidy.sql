-- Forgets what nobody asks for any more: dead sidecars, unanswered questions, old figures
with sweeps as (
  delete from sidecar.sweep s
  where not exists (select from sidecar.attachment a where a.id = s.attachment)
),
workers as (
  delete from sidecar.worker
  where last_heartbeat < clock_timestamp() - interval '1 minute'
),
requests as (
  delete from sidecar.request
  where asked_at < clock_timestamp() - interval '1 minute'
)
delete from sidecar.progress
where minute < clock_timestamp() - interval '3 hours'
