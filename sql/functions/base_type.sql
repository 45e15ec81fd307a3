-- The type that a domain, or a domain over a domain, is made of; any other type itself. To compare values needs no more, and
-- runs no CHECK of the domain's owner.
create or replace function sidecar.base_type(type oid)
returns oid
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive made_of as (
    select t.oid, t.typtype, t.typbasetype from pg_type t where t.oid = base_type.type
    union all
    select t.oid, t.typtype, t.typbasetype from made_of m join pg_type t on t.oid = m.typbasetype where m.typtype = 'd'
  )
  select m.oid from made_of m where m.typtype <> 'd'
$$;
