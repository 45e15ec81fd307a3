-- Columns, and how a trigger compares them: as they are where the type's own operators are those of PostgreSQL, else as text.
create or replace function sidecar.compared_columns(target regclass, names name[])
returns table (name name, compared text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    a.attname,
    case
      when exists (
        select
        from pg_operator o
        where o.oprname = '='
          and o.oprleft = a.atttypid
          and o.oprright = a.atttypid
          and o.oprnamespace = 'pg_catalog'::regnamespace
      ) then ''
      else '::text'
    end
  from pg_attribute a
  where a.attrelid = compared_columns.target
    and a.attname = any (names)
    and not a.attisdropped
$$;
