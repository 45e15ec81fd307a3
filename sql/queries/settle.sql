-- $1 attachments, $2 keys, $3 tokens, $4 generations, $5 outcomes, $6 seconds until due, $7 codes, $8 messages
-- Ends leases without a vector. Outcomes: release (uncharged), postpone (backoff after a fault that may pass), give_up
-- (becomes a failure), drop (its source row is gone). A row that changed meanwhile is only released. A queue row that
-- the application holds is passed over, for waiting could deadlock; the positions of those come back, and of those `lost`:
-- their lease ended before, by time, or with their queue row (TRUNCATE, detach).
with asked as materialized (
  select k.*
  from unnest(
    $1::integer[], $2::jsonb[], $3::bigint[], $4::bigint[], $5::text[], $6::float8[], $7::text[], $8::text[]
  ) with ordinality as k (attachment, key, token, generation, outcome, delay, error, message, position)
),
mine as materialized (
  select
    p.attachment,
    p.key,
    p.attempts,
    k.position,
    case when p.generation = k.generation then k.delay else 0 end as delay,
    k.error,
    k.message,
    case when p.generation = k.generation then k.outcome else 'release' end as outcome
  from asked k
  join sidecar.pending p
    on p.attachment = k.attachment
    and p.key = k.key
    and p.lease_token = k.token
  order by p.attachment, p.key
  for update of p skip locked
),
released as (
  update sidecar.pending p
  set lease_token = null,
    lease_until = null,
    attempts = case m.outcome when 'release' then greatest(p.attempts - 1, 0) else p.attempts end,
    lane = case m.outcome when 'release' then p.lane else 2 end,
    due_at = case
      when m.outcome = 'postpone' then clock_timestamp() + make_interval(secs => m.delay)
      when m.delay = 0 then p.due_at
      -- What stays locked for long is tried less and less often, but every half minute.
      else clock_timestamp() + greatest(
        make_interval(secs => m.delay),
        least(interval '30 s', (clock_timestamp() - p.queued_at) / 10)
      )
    end
  from mine m
  where p.attachment = m.attachment
    and p.key = m.key
    and m.outcome in ('release', 'postpone')
),
removed as (
  delete from sidecar.pending p
  using mine m
  where p.attachment = m.attachment
    and p.key = m.key
    and m.outcome in ('give_up', 'drop')
),
failed as (
  insert into sidecar.failure (attachment, key, error, message, attempts)
  select m.attachment, m.key, m.error, m.message, m.attempts
  from mine m
  where m.outcome = 'give_up'
  on conflict (attachment, key) do update
  set error = excluded.error,
    message = excluded.message,
    attempts = excluded.attempts,
    failed_at = now()
),
mended as (
  delete from sidecar.failure f
  using mine m
  where f.attachment = m.attachment
    and f.key = m.key
    and m.outcome = 'drop'
)
select
  k.position,
  not exists (
    select
    from sidecar.pending p
    where p.attachment = k.attachment
      and p.key = k.key
      and p.lease_token = k.token
  ) as lost
from asked k
where not exists (select from mine m where m.position = k.position)
