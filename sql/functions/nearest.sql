-- The k rows nearest to a vector, with the caller's rights, by the HNSW index where there is one. Rows are looked up
-- by their place after the search, so that no picture is read that is not returned. `except_key` leaves out one row.
create or replace function sidecar.nearest(
  target anyelement,
  attachment sidecar.attachment,
  question vector,
  k integer,
  except_key jsonb
)
returns table (item anyelement, distance double precision)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  relation regclass := sidecar.row_table(target);
  embedding name := sidecar.column_name(attachment.embedding_table, attachment.embedding_attnum);
  query text;
  vectors text;
  ef_search text;
  iterative_scan text;
begin
  if k is null or k < 1 then
    raise exception 'k must be at least 1'
      using errcode = 'invalid_parameter_value',
        hint = 'k is how many rows come back: k => 10.';
  end if;
  select quote_ident(n.nspname)
  into vectors
  from pg_extension e
  join pg_namespace n on n.oid = e.extnamespace
  where e.extname = 'vector';

  -- An index scan returns at most hnsw.ef_search rows, and fewer where rows are filtered out; since pgvector 0.8 it can
  -- go on.
  ef_search := coalesce(current_setting('hnsw.ef_search', true), '40');
  iterative_scan := current_setting('hnsw.iterative_scan', true);
  if k > ef_search::integer then
    perform set_config('hnsw.ef_search', least(k, 1000)::text, true);
  end if;
  if iterative_scan = 'off' then
    perform set_config('hnsw.iterative_scan', 'strict_order', true);
  end if;
  query := case when attachment.storage = 'table' then
    sidecar.nearest_in_companion(attachment, relation, vectors, except_key is not null)
  else format(
    'with found as materialized (
      select t.tableoid as part, t.ctid as place, t.%1$I operator(%2$s.<=>) $1 as distance
      from %3$s t
      where t.%1$I is not null %4$s
      order by t.%1$I operator(%2$s.<=>) $1
      limit $2
    )
    select t, f.distance
    from found f
    join %3$s t on t.ctid = f.place and t.tableoid = f.part
    order by f.distance',
    embedding,
    vectors,
    relation,
    case when except_key is not null
      then format('and not (%s)', sidecar.key_match(attachment.id, 't', '$3'))
      else ''
    end
  ) end;
  return query execute query
  using question, k, except_key;
  perform set_config('hnsw.ef_search', ef_search, true);
  if iterative_scan = 'off' then
    perform set_config('hnsw.iterative_scan', 'off', true);
  end if;
end
$$;
