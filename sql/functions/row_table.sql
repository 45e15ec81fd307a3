-- The table that NULL::products stands for.
create or replace function sidecar.row_table(target anyelement)
returns regclass
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  relation regclass := (
    select t.typrelid::regclass from pg_type t where t.oid = pg_typeof(target)::oid and t.typrelid <> 0
  );
begin
  if relation is null then
    raise exception 'the first argument has the type %, which is not that of a table''s rows', pg_typeof(target)
      using errcode = 'datatype_mismatch',
        hint = 'Name the table by its row type: NULL::products.';
  end if;
  return relation;
end
$$;
