-- Ends pause, and wakes a sidecar.
create or replace function sidecar.resume(target regclass, source_column name)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.whole_attachment(target, source_column);
begin
  update sidecar.attachment a set paused = false where a.id = x.id;
  perform pg_notify('sidecar', '');
end
$$;
