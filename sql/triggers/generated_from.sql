-- The columns that a generated column is computed from; NULL where it is an ordinary one.
create or replace function sidecar.generated_from(target regclass, attnum smallint)
returns name[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select array_agg(distinct b.attname)
  from pg_attribute a
  join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
  join pg_depend d
    on d.refclassid = 'pg_class'::regclass
    and d.refobjid = a.attrelid
    and (
      d.classid = 'pg_attrdef'::regclass and d.objid = f.oid
      or d.classid = 'pg_class'::regclass and d.objid = a.attrelid and d.objsubid = a.attnum
    )
  join pg_attribute b on b.attrelid = a.attrelid and b.attnum = d.refobjsubid
  where a.attrelid = generated_from.target
    and a.attnum = generated_from.attnum
    and a.attgenerated <> ''
    and b.attnum > 0
    and b.attnum <> a.attnum
$$;
