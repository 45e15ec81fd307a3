-- The key of an attachment's companion table: the column's name there and in the source table, its type, and the operator
-- by which both are compared. The companion's first columns are the key, in its order.
create or replace function sidecar.companion_keys(attachment integer)
returns table (place integer, name name, source_name name, type text, equals text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    k.place,
    sidecar.column_name(x.embedding_table, k.place::smallint),
    k.name,
    k.type,
    format('operator(%I.=)', k.operators)
  from sidecar.attachment x
  cross join lateral sidecar.key_columns(x.id) k
  where x.id = companion_keys.attachment
  order by k.place
$$;
