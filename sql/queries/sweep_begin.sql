-- $1 the sidecar's model, $2 seconds between two passes over a table
-- Begins the passes that are due: at once where triggers or partitions are others than at the last pass, and after the
-- interval where rows were written since. A table that a pass is under way in is not looked at before its end. Says which
-- tables have a slice to do now, and whether a pass began because of their triggers.
with looked as materialized (
  select a.id, m.triggers, m.writes, s.attachment is null as new, s.triggers is distinct from m.triggers as changed
  from sidecar.attachment a
  join pg_catalog.pg_class c on c.oid = a.target
  left join sidecar.sweep s on s.attachment = a.id
  cross join lateral sidecar.sweep_marks(a.id, a.target) m
  where a.model = $1
    and (s.phase = 'idle' or s.attachment is null)
    and a.backfill = 'done'
    and (
      s.attachment is null
      or s.due_at <= clock_timestamp()
      or s.triggers is distinct from m.triggers
    )
),
added as (
  insert into sidecar.sweep (attachment, due_at, triggers, writes)
  select l.id, clock_timestamp() + make_interval(secs => $2), l.triggers, l.writes
  from looked l
  where l.new
  on conflict (attachment) do nothing
),
free as materialized (
  select
    s.attachment,
    l.changed or l.writes is distinct from s.writes or l.writes is null as begins
  from sidecar.sweep s
  join looked l on l.id = s.attachment
  where s.phase = 'idle'
  for no key update of s skip locked
),
begun as (
  update sidecar.sweep s
  set phase = case when f.begins then 'failures' else 'idle' end,
    after = null,
    due_at = clock_timestamp() + make_interval(secs => case when f.begins then 0 else $2 end),
    began_at = case when f.begins then clock_timestamp() else s.began_at end,
    found = case when f.begins then 0 else s.found end,
    triggers = l.triggers,
    writes = l.writes
  from looked l, free f
  where l.id = s.attachment
    and f.attachment = s.attachment
  returning s.attachment, s.phase, l.changed
)
select a.id, a.target::text, coalesce(b.changed, false) as changed
from sidecar.attachment a
left join begun b on b.attachment = a.id
left join sidecar.sweep s on s.attachment = a.id
where a.model = $1
  and not a.paused
  and a.backfill = 'done'
  and (b.phase <> 'idle' or b.attachment is null and s.phase <> 'idle' and s.due_at <= clock_timestamp())
order by a.id
