-- SQL text of the HNSW index that an attachment wants; NULL where there is a valid one on the column already.
-- Built without CONCURRENTLY only by attach, on an empty table.
create or replace function sidecar.index_statement(attachment integer, online boolean default true)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    'create index%s on %s using hnsw (%I %I.vector_cosine_ops)',
    case when online and c.relkind <> 'p' then ' concurrently' else '' end,
    x.embedding_table,
    sidecar.column_name(x.embedding_table, x.embedding_attnum),
    e.nspname
  )
  from sidecar.attachment x
  join pg_class c on c.oid = x.embedding_table
  cross join (
    select n.nspname
    from pg_extension v
    join pg_namespace n on n.oid = v.extnamespace
    where v.extname = 'vector'
  ) as e
  where x.id = index_statement.attachment
    and not exists (
      select
      from pg_index i
      join pg_class k on k.oid = i.indexrelid
      join pg_am m on m.oid = k.relam
      where i.indrelid = x.embedding_table
        and i.indkey[0] = x.embedding_attnum
        and m.amname = 'hnsw'
        and i.indisvalid
    )
$$;
