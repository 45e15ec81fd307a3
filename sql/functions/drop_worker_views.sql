-- Drops what make_worker_views made; the companion table stays.
create or replace function sidecar.drop_worker_views(attachment integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  made text;
begin
  foreach made in array array['rows', 'vectors'] loop
    made := sidecar.worker_view(attachment, made);
    if made is not null then
      execute format('drop view %s', made);
    end if;
  end loop;
end
$$;
