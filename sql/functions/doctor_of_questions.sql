-- What keeps questions from being answered.
create or replace function sidecar.doctor_of_questions()
returns table (severity text, finding text, mend text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select 'error', 'no sidecar is running: nothing is embedded, and no question is answered', 'sidecar run'
  where not exists (select from sidecar.workers)
  union all
  select
    'error',
    format('sidecars are running, but none for %s, which answers questions', m.name),
    format('VISION_MODEL_ID=%s sidecar run', m.name)
  from sidecar.model m
  where m.serving
    and exists (select from sidecar.workers)
    and not exists (select from sidecar.workers w where w.model = m.name)
  union all
  select
    'warning',
    'the extension dblink is missing: CALL sidecar.embed works, sidecar.embed_text does not',
    'CREATE EXTENSION dblink;'
  where not exists (select from pg_extension where extname = 'dblink')
  union all
  select
    'warning',
    'sidecar.embed_text has no way to its own database: the foreign server sidecar_loopback or its user mapping is missing',
    'sidecar migrate'
  where exists (select from pg_extension where extname = 'dblink')
    and not exists (
      select
      from pg_user_mappings u
      join pg_proc p on p.oid = to_regprocedure('sidecar.embed_text(text)')
      where u.srvname = 'sidecar_loopback' and u.umuser in (p.proowner, 0)
    )
  union all
  select
    'error',
    'sidecar.embed_text cannot connect to its own database: ' || f.fault,
    -- Options of the server and the mapping that an administrator has set are kept by migrate, wrong ones too.
    'DROP SERVER sidecar_loopback CASCADE;'
  from sidecar.loopback_fault() as f (fault)
  where f.fault is not null
  union all
  select
    'warning',
    format('sidecar.embed_text asks in another database, %s: the foreign server sidecar_loopback says so', o.option_value),
    'ALTER SERVER sidecar_loopback OPTIONS (DROP dbname);'
  from pg_foreign_server s
  cross join lateral pg_options_to_table(s.srvoptions) o
  where s.srvname = 'sidecar_loopback'
    and o.option_name = 'dbname'
    and o.option_value <> current_database()
  union all
  select
    'warning',
    'a sidecar has not answered for ' || justify_interval(date_trunc('second', clock_timestamp() - w.last_heartbeat))
      || ': ' || w.host || ', process ' || w.pid,
    'sidecar run'
  from sidecar.stopped_workers w
$$;
