-- Drops an attachment's companion table and its view. What a user has built on them is named by PostgreSQL's error.
create or replace function sidecar.drop_companion(attachment integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  view regclass := sidecar.companion_view(drop_companion.attachment);
begin
  select * into strict x from sidecar.attachment a where a.id = drop_companion.attachment;
  if view is not null then
    execute format('drop view %s', view);
  end if;
  if exists (select from pg_class c where c.oid = x.embedding_table) then
    execute format('drop table %s', x.embedding_table);
  end if;
end
$$;
