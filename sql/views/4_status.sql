-- One row per attachment of a table that the caller may read. `pending` counts the queue, `leased` the part of it that
-- sidecars work on now; `truncated`, over the last hours, texts that were longer than the model reads;
-- `oldest_pending` is how long the oldest entry waits; `rate` is vectors per second over the last minute; `rows` and
-- `embedded` are `estimated` on very large tables.
drop view if exists sidecar.status;
create view sidecar.status with (security_barrier) as
select
  a.target,
  sidecar.column_name(a.target, a.source_attnum) as source_column,
  sidecar.embedding_name(a) as embedding_column,
  a.model,
  a.modality,
  case
    when a.paused then 'paused'
    when a.backfill <> 'done' then 'backfilling'
    else 'live'
  end as state,
  c.rows,
  c.embedded,
  q.pending,
  q.leased,
  (select count(*) from sidecar.failure f where f.attachment = a.id) as failed,
  coalesce(g.truncated, 0) as truncated,
  clock_timestamp() - q.oldest as oldest_pending,
  round(g.rate::numeric, 1)::double precision as rate,
  make_interval(
    secs => ceil(
      greatest(
        q.pending,
        case a.backfill when 'missing' then c.rows - c.embedded when 'all' then c.rows else 0 end
      )
      / nullif(g.rate, 0)
    )
  ) as eta,
  c.estimated
from sidecar.attachment a
cross join lateral sidecar.count_rows(a.target, a.embedding_table, a.embedding_attnum) as c
cross join lateral (
  select
    count(*) as pending,
    count(*) filter (where p.lease_until > clock_timestamp()) as leased,
    min(p.queued_at) as oldest
  from sidecar.pending p
  where p.attachment = a.id
) as q
cross join lateral (
  -- Of the minute before the present one, that part counts which is less than a minute ago.
  select
    sum(r.truncated) as truncated,
    coalesce(
      sum(
        r.embedded * case
          when r.minute = m.present then 1
          when r.minute = m.present - interval '1 minute' then 1 - m.seconds / 60
          else 0
        end
      ) / case
        when bool_or(r.minute = m.present - interval '1 minute') then 60
        else greatest(least(m.seconds, extract(epoch from clock_timestamp() - a.created_at)), 1)
      end,
      0
    ) as rate
  from (
    select
      date_trunc('minute', clock_timestamp()) as present,
      extract(second from clock_timestamp()) as seconds
  ) as m
  left join sidecar.progress r on r.attachment = a.id
  group by m.seconds
) as g
where has_table_privilege(a.target, 'select');
