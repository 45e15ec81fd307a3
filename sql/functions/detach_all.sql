-- Before the schema goes: every table is left with its columns and vectors, and without our triggers.
create or replace function sidecar.detach_all()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x record;
begin
  perform from sidecar.attachment order by id for update;
  for x in select id from sidecar.attachment loop
    perform sidecar.drop_triggers(x.id);
    perform sidecar.revoke_from_worker(x.id);
    perform sidecar.drop_worker_views(x.id);
    delete from sidecar.attachment where id = x.id;
    perform sidecar.drop_trigger_functions(x.id);
  end loop;
end
$$;
