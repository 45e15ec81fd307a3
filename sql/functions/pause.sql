-- Changes go on being queued; no sidecar takes them until resume.
create or replace function sidecar.pause(target regclass, source_column name)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.whole_attachment(target, source_column);
begin
  update sidecar.attachment a set paused = true where a.id = x.id;
end
$$;
