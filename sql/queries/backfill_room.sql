-- $1 attachment, $2 low-water mark, or NULL for none: locks the attachment for the feed, unless another sidecar feeds it or
-- its queue is full. Counting passes over what the index still holds of drained rows, so it is not done for every slice.
select a.backfill, a.backfill_after::text as after
from sidecar.attachment a
where a.id = $1
  and a.backfill <> 'done'
  and not a.paused
  and ($2::bigint is null or (
    select count(*)
    from (select from sidecar.pending p where p.attachment = $1 and p.lane = 3 limit $2) as waiting
  ) < $2)
for no key update of a skip locked
