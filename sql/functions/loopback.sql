-- Runs CALL sidecar.converse(...) over this session's kept connection to the database itself. A connection that broke is
-- opened once more, and so is one to a server that cannot answer any more: it was opened before the foreign server was
-- pointed elsewhere, or the primary has changed. No exception block: before PostgreSQL 17 none may run while a query is
-- executed in parallel.
-- dblink's functions are named with their schema, whichever it is, so that nothing else can stand in for them.
create or replace function sidecar.loopback(command text)
returns table (reply text, code text, message text, hint text)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set client_min_messages = error
as $$
declare
  kept constant text := 'sidecar_loopback';
  dblink text;
  ready boolean;
  sent integer;
  rows bigint;
begin
  select quote_ident(n.nspname)
  into dblink
  from pg_extension e
  join pg_namespace n on n.oid = e.extnamespace
  where e.extname = 'dblink';
  if not found then
    raise exception 'embed_text and embed_image need the extension dblink, which this database does not have'
      using errcode = 'feature_not_supported',
        hint = 'CREATE EXTENSION dblink; then: sidecar migrate. Without it, CALL sidecar.embed(''a text'', NULL) works.';
  end if;

  execute format('select coalesce($1 = any (%s.dblink_get_connections()), false)', dblink) into ready using kept;
  for attempt in 1..2 loop
    if not ready then
      perform sidecar.open_loopback(dblink, kept);
    end if;
    execute format('select %s.dblink_send_query($1, $2)', dblink) into sent using kept, command;
    if sent = 1 then
      execute format(
        'select * from %s.dblink_get_result($1, $2) as answer (reply text, code text, message text, hint text)', dblink
      )
      into reply, code, message, hint
      using kept, not ready;
      get diagnostics rows = row_count;
      if rows = 1 and not (ready and code is not distinct from '25006') then
        -- The connection is free again only when an empty result has been fetched.
        execute format('select from %s.dblink_get_result($1, false) as answer (nothing text)', dblink) using kept;
        return next;
        return;
      end if;
    end if;
    execute format('select %s.dblink_disconnect($1)', dblink) using kept;
    exit when not ready;
    ready := false;
  end loop;
  raise exception 'the loopback connection to this database was lost'
    using errcode = 'connection_failure',
      hint = 'Run the query again; SELECT * FROM sidecar.doctor(); tells what is wrong if this goes on.';
end
$$;
