-- $1 the sidecar's model, $2 modalities, $3 how many at most of each, $4 length of the lease in seconds, $5 most attempts,
-- $6 attachments (0: all), $7 lanes and $8 times: where the last claim in each lane ended. Before that lie leased rows and
-- what the index still holds of drained ones; without the marks, half of a drain's time went into passing over them.
-- Takes rows of the best lane in which any attachment has due work, an equal share of each such attachment, so
-- that none waits behind another's backlog. MATERIALIZED: IN (... LIMIT n ... SKIP LOCKED) can take more than n. A row that
-- is locked here stays where it is (ctid) until it is updated here.
with room as (
  select r.modality, r.rows
  from unnest($2::text[], $3::integer[]) as r (modality, rows)
),
mark as materialized (
  select m.attachment, m.lane, m.due_at
  from unnest($6::integer[], $7::integer[], $8::timestamptz[]) as m (attachment, lane, due_at)
),
busy as materialized (
  select a.id, a.modality, v.lane, v.since
  from sidecar.attachment a
  cross join lateral (
    select l.lane, s.since
    -- In this order, so that no lane is looked at after the first one that has work.
    from (select v.lane from (values (1), (2), (3)) as v (lane) order by v.lane) as l
    cross join lateral (
      select coalesce(max(m.due_at), '-infinity') as since
      from mark m
      where m.attachment in (a.id, 0)
        and m.lane = l.lane
    ) as s
    where exists (
      select
      from sidecar.pending p
      where p.attachment = a.id
        and p.lane = l.lane
        and p.due_at >= s.since
        and p.due_at <= clock_timestamp()
        and (p.lease_until is null or p.lease_until < clock_timestamp())
        and p.attempts < $5
    )
    order by l.lane
    limit 1
  ) as v
  where a.model = $1
    and a.modality in (select r.modality from room r)
    and not a.paused
),
shared as (
  select
    b.id,
    b.modality,
    b.lane,
    b.since,
    r.rows,
    count(*) over (partition by b.modality) as attachments,
    row_number() over (partition by b.modality order by random()) as turn
  from busy b
  join room r on r.modality = b.modality
  where b.lane = (select min(o.lane) from busy o where o.modality = b.modality)
),
chosen as materialized (
  select c.row, s.modality
  from shared s
  cross join lateral (
    select p.ctid as row
    from sidecar.pending p
    where p.attachment = s.id
      and p.lane = s.lane
      and p.due_at >= s.since
      and p.due_at <= clock_timestamp()
      and (p.lease_until is null or p.lease_until < clock_timestamp())
      and p.attempts < $5
    order by p.due_at
    limit greatest(s.rows / s.attachments, 1)
    for update skip locked
  ) as c
  where s.turn <= s.rows
),
lease as materialized (
  select nextval('sidecar.lease_token') as token
)
update sidecar.pending p
set lease_token = l.token,
  lease_until = clock_timestamp() + make_interval(secs => $4),
  attempts = p.attempts + 1
from chosen c, lease l
where p.ctid = c.row
returning p.attachment, p.key::text, p.generation, p.attempts, p.lane, p.lease_token, c.modality, p.due_at
