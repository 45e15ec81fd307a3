-- What a column of a type holds: image, text, or NULL for neither. A domain holds what its base type does.
create or replace function sidecar.type_holds(type oid)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  base oid := type;
begin
  while (select t.typtype = 'd' from pg_type t where t.oid = base) loop
    select t.typbasetype into base from pg_type t where t.oid = base;
  end loop;
  return case
    when base = 'bytea'::regtype then 'image'
    when base in ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) then 'text'
    when exists (
      select
      from pg_depend d
      join pg_extension e on e.oid = d.refobjid and e.extname = 'citext'
      where d.refclassid = 'pg_extension'::regclass
        and d.classid = 'pg_type'::regclass
        and d.objid = base
        and d.deptype = 'e'
    ) then 'text'
  end;
end
$$;
