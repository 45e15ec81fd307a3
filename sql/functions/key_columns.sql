-- The primary key of an attachment in its order: current name, type (of a domain: what it is made of), whether jsonb holds
-- the type as it is, and the schema of the type's operators. Every other type travels as its text, under the settings that
-- trigger functions pin (UTC, ISO). The columns are those that attach noted: what is queued while a table has no primary key
-- is not lost.
create or replace function sidecar.key_columns(attachment integer)
returns table (place integer, name name, type text, native boolean, operators name)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    k.place::integer,
    a.attname,
    case t.typtype when 'd' then format_type(b.oid, null) else format_type(t.oid, a.atttypmod) end,
    b.oid::regtype = any (
      array['int2', 'int4', 'int8', 'numeric', 'text', 'varchar', 'uuid', 'bool']::regtype[]
    ),
    coalesce(
      (
        select n.nspname
        from pg_opclass c
        join pg_amop e
          on e.amopfamily = c.opcfamily
          and e.amoplefttype = c.opcintype
          and e.amoprighttype = c.opcintype
          and e.amopstrategy = 3
        join pg_operator o on o.oid = e.amopopr
        join pg_namespace n on n.oid = o.oprnamespace
        where c.oid = i.indclass[k.place - 1]
      ),
      'pg_catalog'
    )
  from sidecar.attachment known
  cross join lateral sidecar.located(known) x
  cross join unnest(x.key_attnums) with ordinality as k (attnum, place)
  join pg_attribute a on a.attrelid = x.target and a.attnum = k.attnum and not a.attisdropped
  join pg_type t on t.oid = a.atttypid
  join pg_type b on b.oid = sidecar.base_type(t.oid)
  left join pg_index i on i.indrelid = x.target and i.indisprimary and i.indkey[k.place - 1] = k.attnum
  where x.id = key_columns.attachment
  order by k.place
$$;
