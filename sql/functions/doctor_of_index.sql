-- Whether an attachment that wants an HNSW index has one that can be used. While it is being built, all is well.
create or replace function sidecar.doctor_of_index(x sidecar.attachment)
returns table (severity text, finding text, mend text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with index as (
    select i.indexrelid, i.indrelid, i.indisvalid,
      exists (select from pg_stat_progress_create_index b where b.relid = i.indrelid) as building
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am m on m.oid = c.relam and m.amname = 'hnsw'
    join pg_attribute v on v.attrelid = i.indrelid and v.attnum = i.indkey[0]
    where i.indrelid in (select x.embedding_table union select p.relid from pg_partition_tree(x.embedding_table) p)
      and v.attname = sidecar.column_name(x.embedding_table, x.embedding_attnum)
  )
  select
    'warning',
    format('the index %s is not valid: it costs, and helps no search', i.indexrelid::regclass),
    format('DROP INDEX %s;', i.indexrelid::regclass)
  from index i
  where not i.indisvalid and not i.building
  union all
  select
    'warning',
    format(
      'a search in %s reads every row: it has no HNSW index on its vectors; a sidecar that owns the table builds one',
      x.target
    ),
    sidecar.index_statement(x.id) || ';'
  where x.index = 'hnsw'
    and x.backfill = 'done'
    and not exists (select from index i where i.indrelid = x.embedding_table and (i.indisvalid or i.building))
    and not exists (select from pg_stat_progress_create_index b where b.relid = x.embedding_table)
$$;
