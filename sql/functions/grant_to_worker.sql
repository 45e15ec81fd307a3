-- What a sidecar with nothing but the role sidecar_worker needs on an attached table: it reads the key and the
-- source, and writes the vector; into a companion table through two views, so that no right to change the table is given.
create or replace function sidecar.grant_to_worker(attachment integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  schema name;
begin
  select * into strict x from sidecar.attachment a where a.id = grant_to_worker.attachment;
  if to_regrole('sidecar_worker') is null then
    return;
  end if;
  select n.nspname into schema
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = x.target;
  -- Each upgrade asks, and GRANT would wait for whoever has the table locked.
  if x.storage = 'column'
    and not exists (
      select
      from unnest(x.key_attnums || x.source_attnum || x.embedding_attnum) as needed (number)
      where not coalesce(has_column_privilege('sidecar_worker', x.target, number, 'select'), false)
    )
    and has_column_privilege('sidecar_worker', x.target, x.embedding_attnum, 'update')
    and has_schema_privilege('sidecar_worker', schema, 'usage')
  then
    return;
  end if;
  execute format(
    'grant select (%s)%s on %s to sidecar_worker',
    (
      select string_agg(quote_ident(name), ', ')
      from (
        select sidecar.column_name(x.target, x.source_attnum) as name
        union
        select sidecar.column_name(x.target, x.embedding_attnum) where x.storage = 'column'
        union
        select k.name from sidecar.key_columns(x.id) k
      ) as needed
    ),
    case x.storage when 'column' then format(', update (%I)', sidecar.column_name(x.target, x.embedding_attnum)) end,
    x.target
  );
  if x.storage = 'table' then
    execute format('grant select, update on %s to sidecar_worker', sidecar.worker_view(x.id, 'rows'));
    execute format('grant select, insert, update, delete on %s to sidecar_worker', sidecar.worker_view(x.id, 'vectors'));
  end if;
  if not has_schema_privilege('sidecar_worker', schema, 'usage') then
    begin
      execute format('grant usage on schema %I to sidecar_worker', schema);
    exception
      when insufficient_privilege then
        raise notice 'let the owner of the schema run: GRANT USAGE ON SCHEMA % TO sidecar_worker', quote_ident(schema);
    end;
  end if;
end
$$;
