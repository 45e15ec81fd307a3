-- The k rows most like one row of the same table, without that row; key is its primary key: '[42]' or '["eu", 42]'.
create or replace function sidecar.similar(
  target anyelement,
  key jsonb,
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
  relation regclass := sidecar.row_table(target);
  x sidecar.attachment := sidecar.find_attachment(relation, source_column);
  embedding sidecar.vector_cache.embedding%type;
  found_rows bigint;
begin
  if key is null then
    return;
  end if;
  perform sidecar.check_key(x, key);
  execute format(
    'select %s from %s t where %s',
    sidecar.embedding_expression(x, 't'), relation, sidecar.key_match(x.id, 't', '$1')
  )
  into embedding
  using key;
  get diagnostics found_rows = row_count;
  if found_rows = 0 then
    raise exception '% has no row with the key %', relation, key
      using errcode = 'no_data_found',
        hint = 'The key is the primary key''s values as a JSON array: ''[42]''.';
  end if;
  if embedding is null then
    raise exception 'the row % of % has no vector yet', key, relation
      using errcode = 'object_not_in_prerequisite_state',
        hint = format(
          'SELECT * FROM sidecar.explain(%L, %L, %L); says why.',
          relation, sidecar.column_name(x.target, x.source_attnum), key
        );
  end if;
  return query select n.item, n.distance from sidecar.nearest(target, x, embedding, k, key) n;
end
$$;
