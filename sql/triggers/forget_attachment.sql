-- With an attachment goes what is known of its rows, whoever takes it away: no role but a sidecar's writes those tables.
create or replace function sidecar.forget_attachment()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from sidecar.pending p where p.attachment = old.id;
  delete from sidecar.failure f where f.attachment = old.id;
  delete from sidecar.progress r where r.attachment = old.id;
  return null;
end
$$;

create or replace trigger forget
after delete on sidecar.attachment
for each row execute function sidecar.forget_attachment();
