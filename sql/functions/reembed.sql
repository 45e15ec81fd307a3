-- Every row again, with the deployment's model. The sidecar queues them in slices; the old vectors stay until then.
create or replace function sidecar.reembed(target regclass, source_column name)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.whole_attachment(target, source_column);
begin
  update sidecar.attachment a
  set backfill = 'all',
    backfill_after = null,
    swept = true,
    model = coalesce((select m.name from sidecar.model m where m.serving), a.model)
  where a.id = x.id;
  perform pg_notify('sidecar', '');
end
$$;
