-- What is wrong around the queue, and with pgvector.
create or replace function sidecar.doctor_of_database()
returns table (severity text, finding text, mend text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'warning',
    format('autovacuum is switched off for %s: the queue grows and claims become slow', c.oid::regclass),
    format('ALTER TABLE %s RESET (autovacuum_enabled);', c.oid::regclass)
  from pg_class c
  cross join lateral pg_options_to_table(c.reloptions) o
  where c.oid = 'sidecar.pending'::regclass
    and o.option_name = 'autovacuum_enabled'
    and not o.option_value::boolean
  union all
  select
    'warning',
    'autovacuum is switched off on this server: the queue grows and claims become slow',
    'ALTER SYSTEM RESET autovacuum; SELECT pg_reload_conf();'
  where not current_setting('autovacuum')::boolean
  union all
  select
    'warning',
    format(
      'the queue holds %s dead rows and %s live ones: no vacuum could clean it, and an old transaction may be why',
      s.n_dead_tup, s.n_live_tup
    ),
    'VACUUM sidecar.pending;'
  from pg_stat_all_tables s
  where s.relid = 'sidecar.pending'::regclass
    and s.n_dead_tup > 50000 + s.n_live_tup
  union all
  -- reset_val: what a session begins with, whatever this function sets.
  select
    'note',
    format('pgvector is in the schema %I, which is not on the search_path: queries have to write OPERATOR(%I.<=>)', n.nspname, n.nspname),
    format('ALTER DATABASE %I SET search_path = %s, %I;', current_database(), s.reset_val, n.nspname)
  from pg_extension e
  join pg_namespace n on n.oid = e.extnamespace
  join pg_settings s on s.name = 'search_path'
  where e.extname = 'vector'
    and n.nspname <> 'pg_catalog'
    and quote_ident(n.nspname) not in (
      select case btrim(part) when '"$user"' then quote_ident(session_user) else btrim(part) end
      from string_to_table(s.reset_val, ',') as part
    )
$$;
