-- What keeps embed_text from its own database, as the connection says; NULL: it works, or there is nothing to try.
create or replace function sidecar.loopback_fault()
returns text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set client_min_messages = error
as $$
declare
  dblink text := (
    select quote_ident(n.nspname)
    from pg_extension e
    join pg_namespace n on n.oid = e.extnamespace
    where e.extname = 'dblink'
  );
  detail text;
begin
  if dblink is null or not exists (
    select from pg_user_mappings u where u.srvname = 'sidecar_loopback' and u.usename in (current_user, 'public')
  ) then
    return null;
  end if;
  perform sidecar.open_loopback(dblink, 'sidecar_loopback_doctor');
  execute format('select %s.dblink_disconnect($1)', dblink) using 'sidecar_loopback_doctor';
  return null;
exception
  when others then
    get stacked diagnostics detail = pg_exception_detail;
    return coalesce(nullif(substring(detail from 'FATAL:  (.*)$'), ''), nullif(detail, ''), sqlerrm);
end
$$;
