-- Queue entries of attachments that are gone, written by transactions that had begun before: read by loose index scan
with recursive known as (
  (select p.attachment from sidecar.pending p order by p.attachment limit 1)
  union all
  select (
    select p.attachment
    from sidecar.pending p
    where p.attachment > k.attachment
    order by p.attachment
    limit 1
  )
  from known k
  where k.attachment is not null
)
delete from sidecar.pending p
using known k
where p.attachment = k.attachment
  and not exists (select from sidecar.attachment a where a.id = k.attachment)
