-- Takes an attachment back: triggers, queue entries and failures go; the column or the companion table, its vectors and
-- its index stay unless drop_column. DROP TRIGGER takes ACCESS EXCLUSIVE on the table until the transaction ends.
create or replace function sidecar.detach(target regclass, source_column name, drop_column boolean default false)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.whole_attachment(target, source_column);
  embedding name := sidecar.column_name(x.embedding_table, x.embedding_attnum);
begin
  -- First, as the backfill does, which holds it while it reads the table.
  perform from sidecar.attachment a where a.id = x.id for update;
  perform sidecar.drop_triggers(x.id);
  perform sidecar.revoke_from_worker(x.id);
  perform sidecar.drop_worker_views(x.id);
  if drop_column and x.storage = 'table' then
    perform sidecar.drop_companion(x.id);
  elsif drop_column and embedding is not null then
    execute format('alter table %s drop column %I', x.target, embedding);
  end if;
  delete from sidecar.attachment a where a.id = x.id;
  perform sidecar.drop_trigger_functions(x.id);
end
$$;
