-- Opens the loopback connection and gives it known settings, whatever the defaults of its role and database are.
create or replace function sidecar.open_loopback(dblink text, name text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  connect constant text := format('select %s.dblink_connect($1, $2)', dblink);
  detail text;
begin
  if not exists (select from pg_foreign_server s where s.srvname = 'sidecar_loopback') then
    raise exception 'embed_text and embed_image need the foreign server sidecar_loopback, which this database does not have'
      using errcode = 'feature_not_supported',
        hint = 'Run: sidecar migrate. It makes the server, or says what an administrator has to run.';
  end if;
  if current_setting('server_version_num')::integer < 170000 then
    -- An exception block may not run there while a query is executed in parallel.
    execute connect using name, sidecar.loopback_address();
  else
    begin
      execute connect using name, sidecar.loopback_address();
    exception
      when sqlclient_unable_to_establish_sqlconnection or sqlstate '2F003' then
        get stacked diagnostics detail = pg_exception_detail;
        raise exception 'embed_text cannot connect to its own database: %', sqlerrm
          using errcode = 'sqlclient_unable_to_establish_sqlconnection',
            detail = detail,
            hint = 'Set host, port, user and password of the foreign server sidecar_loopback and its user mapping; '
              'CALL sidecar.embed works without.';
    end;
  end if;
  execute format('select %s.dblink_exec($1, $2)', dblink)
  using
    name,
    'set search_path = pg_catalog, pg_temp;'
    || ' set default_transaction_read_only = off;'
    || ' set default_transaction_isolation = ''read committed'';'
    || ' set statement_timeout = 0;'
    || ' set lock_timeout = 0;'
    || ' set jit = off';
end
$$;
