-- Puts the triggers back that before_alter took away, where the table still fits its attachments; see there.
create or replace function sidecar.after_alter(target regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  fault record;
begin
  for x in select a.* from sidecar.attachment a where a.target = after_alter.target order by a.id loop
    select * into fault from sidecar.attachment_fault(x);
    if found then
      raise exception '%', fault.finding
        using errcode = 'object_not_in_prerequisite_state', hint = fault.mend;
    end if;
    perform sidecar.install_trigger_functions(x.id);
    perform sidecar.install_triggers(x.id);
    perform sidecar.grant_to_worker(x.id);
  end loop;
end
$$;
