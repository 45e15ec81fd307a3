-- What waits and what failed, of every attachment. Counts walk an index alone; the oldest due row is the first of each
-- lane in the index for the claim, leased or not.
select
  a.id as attachment,
  a.target::text as target,
  coalesce(sidecar.column_name(a.target, a.source_attnum), a.source_column)::text as source_column,
  (select count(*) from sidecar.pending p where p.attachment = a.id) as pending,
  (select count(*) from sidecar.failure f where f.attachment = a.id) as failed,
  greatest(0, extract(epoch from clock_timestamp() - o.due_at))::float8 as oldest
from sidecar.attachment a
cross join lateral (
  select min(d.due_at) as due_at
  from (values (1), (2), (3)) as l (lane)
  cross join lateral (
    select p.due_at
    from sidecar.pending p
    where p.attachment = a.id
      and p.lane = l.lane
    order by p.due_at
    limit 1
  ) as d
) as o
