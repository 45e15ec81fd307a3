-- The model that answers questions while a live sidecar serves it, else NULL. Alive: a heartbeat within 10 s, and a
-- connection that is there, so that a sidecar killed a moment ago counts as dead at once.
create or replace function sidecar.serving_model()
returns text
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select m.name
  from sidecar.model m
  where m.serving
    and exists (
      select
      from sidecar.worker w
      where w.model = m.name
        and w.last_heartbeat > clock_timestamp() - interval '10 s'
        and (w.backend_pid is null or exists (select from pg_stat_get_activity(w.backend_pid)))
    )
$$;
