-- Takes back what grant_to_worker gave, but for what another attachment of the same table needs.
create or replace function sidecar.revoke_from_worker(attachment integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  embedding name;
  readable text;
begin
  select * into strict x from sidecar.attachment a where a.id = revoke_from_worker.attachment;
  if to_regrole('sidecar_worker') is null or not exists (select from pg_class c where c.oid = x.target) then
    return;
  end if;
  with needed as (
    select a.id, c.name
    from sidecar.attachment a
    cross join lateral (
      select sidecar.column_name(a.target, a.source_attnum) as name
      union
      select sidecar.column_name(a.target, a.embedding_attnum) where a.storage = 'column'
      union
      select k.name from sidecar.key_columns(a.id) k
    ) as c
    where a.target = x.target and c.name is not null
  )
  select string_agg(quote_ident(n.name), ', ')
  into readable
  from needed n
  where n.id = x.id
    and n.name not in (select o.name from needed o where o.id <> x.id);
  if readable is not null then
    execute format('revoke select (%s) on %s from sidecar_worker', readable, x.target);
  end if;
  embedding := case x.storage when 'column' then sidecar.column_name(x.target, x.embedding_attnum) end;
  if embedding is not null then
    execute format('revoke update (%I) on %s from sidecar_worker', embedding, x.target);
  end if;
end
$$;
