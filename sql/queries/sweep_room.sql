-- $1 attachment, $2 low-water mark: locks the sweep of a table for one slice, unless another sidecar is at it or the queue
-- holds enough. The attachment is locked too, as a backfill does, so that detach waits for the slice.
select s.phase, s.after::text as after, w.failures, w.rows
from sidecar.sweep s
join sidecar.attachment a on a.id = s.attachment
cross join lateral sidecar.sweep_statements(a.id) w
where s.attachment = $1
  and s.phase <> 'idle'
  and s.due_at <= clock_timestamp()
  and a.backfill = 'done'
  and not a.paused
  and (
    select count(*)
    from (select from sidecar.pending p where p.attachment = $1 and p.lane = 3 limit $2) as waiting
  ) < $2
for no key update of s skip locked
for key share of a skip locked
