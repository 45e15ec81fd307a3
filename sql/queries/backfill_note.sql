-- $1 attachment, $2 last key that was queued or NULL at the end
update sidecar.attachment a
set backfill_after = $2::jsonb,
  backfill = case when $2::jsonb is null then 'done' else a.backfill end
where a.id = $1
