-- The k rows nearest to a vector, of whatever making; as sidecar.search(..., text).
create or replace function sidecar.search(
  target anyelement,
  question vector,
  k integer default 10,
  source_column name default null
)
returns table (item anyelement, distance double precision)
language plpgsql
volatile
rows 10
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.find_attachment(sidecar.row_table(target), source_column);
begin
  if question is null then
    return;
  end if;
  return query select n.item, n.distance from sidecar.nearest(target, x, question, k, null) n;
end
$$;
