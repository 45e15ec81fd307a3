-- Drops what install_triggers made, with the rights of the table's owner.
create or replace function sidecar.drop_triggers(attachment integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  made record;
begin
  for made in
    select t.tgname, t.tgrelid::regclass as target
    from sidecar.attachment x
    join pg_trigger t on t.tgrelid = x.target
    where x.id = drop_triggers.attachment
      and t.tgname ~ format('^(zzz_)?sidecar_%s_', x.id)
      and t.tgparentid = 0
  loop
    execute format('drop trigger %I on %s', made.tgname, made.target);
  end loop;
end
$$;
