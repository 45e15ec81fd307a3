-- $1 attachment: HNSW indexes on its vectors that an interrupted CREATE INDEX CONCURRENTLY left behind
select format('%I.%I', n.nspname, c.relname)
from sidecar.attachment a
join lateral (
  select a.embedding_table as relid
  union
  select t.relid from pg_partition_tree(a.embedding_table) t
) as r on true
join pg_index i on i.indrelid = r.relid and not i.indisvalid
join pg_class c on c.oid = i.indexrelid and c.relkind = 'i'
join pg_am m on m.oid = c.relam and m.amname = 'hnsw'
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute v on v.attrelid = i.indrelid and v.attnum = i.indkey[0]
where a.id = $1
  and v.attname = sidecar.column_name(a.embedding_table, a.embedding_attnum)
  and not exists (select from pg_stat_progress_create_index s where s.index_relid = i.indexrelid)
