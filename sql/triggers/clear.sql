-- TRUNCATE of an attached table: nothing of it is pending any more. The argument is the attachment. On any other
-- table, where anybody could put this trigger, it does nothing.
create or replace function sidecar.clear()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select
    from sidecar.attachment a
    where a.id = tg_argv[0]::integer
      and (a.target = tg_relid or a.target in (select p.relid from pg_partition_ancestors(tg_relid) p))
  ) then
    return null;
  end if;
  delete from sidecar.pending where attachment = tg_argv[0]::integer;
  delete from sidecar.failure where attachment = tg_argv[0]::integer;
  return null;
end
$$;
