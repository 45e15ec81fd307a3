-- What the roles of live sidecars may not do on an attached table. Its rows wait meanwhile, and are charged to nobody.
create or replace function sidecar.doctor_of_rights(x sidecar.attachment)
returns table (severity text, finding text, mend text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with worker as (
    select distinct r.oid, r.rolname, r.rolsuper or r.rolbypassrls as sees_all
    from sidecar.workers w
    join pg_roles r on r.rolname = w.role
    where w.model = coalesce(x.model, w.model)
  ),
  relation as (
    select c.oid, c.relowner, c.relrowsecurity, c.relforcerowsecurity, n.oid as schema, n.nspname
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.oid = x.target
  ),
  lacking as (
    select
      w.rolname,
      not has_schema_privilege(w.oid, r.schema, 'usage') as schema,
      x.storage = 'column' and not has_column_privilege(w.oid, r.oid, x.embedding_attnum, 'update')
        or x.storage = 'table' and not coalesce(
          has_table_privilege(w.oid, to_regclass(sidecar.worker_view(x.id, 'rows')), 'update')
            and has_table_privilege(w.oid, to_regclass(sidecar.worker_view(x.id, 'vectors')), 'insert, update'),
          true
        )
        or exists (
          select
          from unnest(x.key_attnums || x.source_attnum || case x.storage when 'column' then x.embedding_attnum end) as c (attnum)
          where not has_column_privilege(w.oid, r.oid, c.attnum, 'select')
        ) as columns,
      coalesce(not pg_has_role(w.oid, to_regrole('sidecar_worker'), 'usage'), true) as membership
    from worker w
    cross join relation r
  )
  select
    'error',
    format('%s is not embedded: the role %s of a sidecar has no rights on it', x.target, quote_ident(l.rolname)),
    concat_ws(
      ' ',
      case when l.membership then format('GRANT sidecar_worker TO %I;', l.rolname) end,
      case when l.schema then format('GRANT USAGE ON SCHEMA %I TO sidecar_worker;', r.nspname) end,
      format('SELECT sidecar.grant_to_worker(%s);', x.id)
    )
  from lacking l
  cross join relation r
  where l.schema or l.columns
  union all
  select
    'error',
    format(
      '%s is not embedded: its row-level security would hide rows from the role %s of a sidecar',
      x.target, quote_ident(w.rolname)
    ),
    format('ALTER ROLE %I BYPASSRLS;', w.rolname)
  from worker w
  cross join relation r
  where r.relrowsecurity
    and not w.sees_all
    and (r.relforcerowsecurity or not pg_has_role(w.oid, r.relowner, 'usage'))
$$;
