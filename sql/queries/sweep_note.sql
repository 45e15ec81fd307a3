-- $1 attachment, $2 last key that was looked at or NULL at the end of the phase, $3 how many rows the slice mended, $4 seconds
-- to rest, $5 seconds between two passes: where the sweep goes on
update sidecar.sweep s
set phase = case when $2::jsonb is not null then s.phase when s.phase = 'failures' then 'rows' else 'idle' end,
  after = $2::jsonb,
  found = s.found + $3,
  due_at = clock_timestamp() + make_interval(
    secs => case when $2::jsonb is null and s.phase = 'rows' then $5::float8 else $4::float8 end
  )
where s.attachment = $1
returning s.phase, s.found
