-- Failures back to the queue, all or those with one error code; returns how many.
create or replace function sidecar.retry(target regclass, source_column name, error text default null)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.whole_attachment(target, source_column);
  queued bigint;
begin
  -- The queue first, as sidecars do, lest the two wait for each other.
  with again as (
    insert into sidecar.own_pending (attachment, key, lane)
    select x.id, f.key, 2
    from sidecar.own_failure f
    where f.attachment = x.id and f.error = coalesce(retry.error, f.error)
    order by f.key
    on conflict (attachment, key) do update
    set attempts = 0, due_at = clock_timestamp()
    returning key
  )
  delete from sidecar.own_failure f
  using again a
  where f.attachment = x.id and f.key = a.key;
  get diagnostics queued = row_count;
  perform pg_notify('sidecar', '');
  return queued;
end
$$;
