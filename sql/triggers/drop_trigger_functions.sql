-- Drops the trigger functions of an attachment that is gone; the schema's owner made them. Triggers that still use them
-- (a column was dropped under them) go along.
create or replace function sidecar.drop_trigger_functions(attachment integer)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  made regprocedure;
begin
  if exists (select from sidecar.attachment a where a.id = drop_trigger_functions.attachment) then
    return;
  end if;
  for made in
    select p.oid
    from pg_proc p
    where p.pronamespace = 'sidecar'::regnamespace
      and p.proname = any (array[
        format('queue_%s_statement', attachment), format('queue_%s_row', attachment), format('clear_%s_row', attachment)
      ])
  loop
    execute format('drop function %s cascade', made);
  end loop;
end
$$;
