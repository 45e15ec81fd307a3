-- What is wrong with the companion table of storage => 'table', its policy and its views.
create or replace function sidecar.doctor_of_companion(x sidecar.attachment)
returns table (severity text, finding text, mend text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with companion as (
    select c.oid, c.oid::regclass as name, c.relrowsecurity, c.relowner, t.relowner as source_owner,
      format('SELECT sidecar.renew_view(%L, %L);', x.target, sidecar.column_name(x.target, x.source_attnum)) as renew
    from pg_class c
    join pg_class t on t.oid = x.target
    where x.storage = 'table' and c.oid = x.embedding_table
  )
  select
    'error',
    format('the sidecar cannot write the vectors of %s: a view is missing that it writes %s through', x.target, c.name),
    c.renew
  from companion c
  where sidecar.worker_view(x.id, 'rows') is null or sidecar.worker_view(x.id, 'vectors') is null
  union all
  select
    'error',
    format('whoever may read %s sees vectors of rows of %s that row-level security hides', c.name, x.target),
    c.renew
  from companion c
  where not c.relrowsecurity
  union all
  select
    'warning',
    format('%s and the vectors of its rows in %s have different owners', x.target, c.name),
    format('ALTER TABLE %s OWNER TO %I; then %s', c.name, pg_get_userbyid(c.source_owner), c.renew)
  from companion c
  where c.relowner <> c.source_owner
  union all
  select
    'warning',
    format('%s may read %s, and not the vectors of its rows in %s', string_agg(r.name, ', ' order by r.name), x.target, c.name),
    c.renew
  from companion c
  cross join lateral (
    select distinct pg_get_userbyid(g.grantee)::text as name
    from pg_class t
    cross join lateral aclexplode(t.relacl) g
    where t.oid = x.target
      and g.grantee <> 0
      and g.privilege_type = 'SELECT'
      and not has_table_privilege(g.grantee, c.oid, 'select')
  ) as r
  group by c.name, c.renew
  union all
  select
    'note',
    format(
      'the view %s lacks %s of %s',
      v.view, string_agg(quote_ident(a.attname), ', ' order by a.attnum), x.target
    ),
    c.renew
  from companion c
  cross join lateral (select sidecar.companion_view(x.id) as view) as v
  join pg_attribute a on a.attrelid = x.target and a.attnum > 0 and not a.attisdropped
  where v.view is not null
    and not exists (
      select
      from pg_rewrite r
      join pg_depend d
        on d.classid = 'pg_rewrite'::regclass
        and d.objid = r.oid
        and d.refclassid = 'pg_class'::regclass
        and d.refobjid = x.target
        and d.refobjsubid = a.attnum
      where r.ev_class = v.view
    )
  group by v.view, c.renew
$$;
