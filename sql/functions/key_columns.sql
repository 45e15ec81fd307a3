-- The primary key of an attachment in its order: current name, type, and whether jsonb holds the type as it is.
-- Every other type travels as its text, under the settings that trigger functions pin (UTC, ISO).
create or replace function sidecar.key_columns(attachment integer)
returns table (place integer, name name, type text, native boolean)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    k.place::integer,
    a.attname,
    format_type(a.atttypid, a.atttypmod),
    coalesce(nullif(t.typbasetype, 0), t.oid)::regtype = any (
      array['int2', 'int4', 'int8', 'numeric', 'text', 'varchar', 'uuid', 'bool']::regtype[]
    )
  from sidecar.attachment x
  join pg_index i on i.indexrelid = x.key_index
  cross join unnest(i.indkey::smallint[]) with ordinality as k (attnum, place)
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  join pg_type t on t.oid = a.atttypid
  where x.id = key_columns.attachment
    and k.place <= i.indnkeyatts
  order by k.place
$$;
