-- Detaches what has lost its table or one of its columns, and nothing else: so it needs no right, and the sidecar does it by
-- itself. Triggers that are left go with their functions: ACCESS EXCLUSIVE on the table until the transaction ends.
create or replace function sidecar.forget_lost(attachment integer)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
begin
  select * into x from sidecar.attachment a where a.id = forget_lost.attachment for update;
  if not exists (select from sidecar.attachment_fault(x) f where x.id is not null and f.kind = 'lost') then
    return false;
  end if;
  begin
    perform sidecar.drop_triggers(x.id);
    perform sidecar.drop_worker_views(x.id);
  exception
    when insufficient_privilege then
      null; -- the two that share their functions with other attachments stay with a table of another owner, and do nothing
  end;
  delete from sidecar.attachment a where a.id = x.id;
  perform sidecar.drop_trigger_functions(x.id);
  return true;
end
$$;
