-- The statements, in order, that build the HNSW index which an attachment still wants without blocking writers. A
-- partitioned table cannot be indexed CONCURRENTLY: each leaf is, and its index is attached to an empty parent's.
-- CREATE INDEX CONCURRENTLY takes SHARE UPDATE EXCLUSIVE; ATTACH PARTITION takes SHARE UPDATE EXCLUSIVE on the parent index
-- and ACCESS EXCLUSIVE on the leaf's new index, for an instant.
create or replace function sidecar.index_steps(attachment integer)
returns setof text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  wanted text := sidecar.index_statement(index_steps.attachment);
  body text;
  part record;
begin
  select * into strict x from sidecar.attachment a where a.id = index_steps.attachment;
  if wanted is null or x.index <> 'hnsw' or x.backfill <> 'done' then
    return;
  end if;
  if (select relkind from pg_class where oid = x.embedding_table) <> 'p' then
    return next wanted;
    return;
  end if;
  body := substring(wanted from 'using hnsw .*$');
  for part in
    select t.relid, t.isleaf, format('sidecar_%s_%s_hnsw', x.id, t.relid::oid) as index
    from pg_partition_tree(x.target) t
    order by t.level
  loop
    return next format(
      'create index %s if not exists %I on %s%s %s',
      case when part.isleaf then 'concurrently' else '' end,
      part.index,
      case when part.isleaf then '' else 'only ' end,
      part.relid,
      body
    );
  end loop;
  for part in
    select n.nspname, format('sidecar_%s_%s_hnsw', x.id, t.relid::oid) as index, p.nspname as parent_schema,
      format('sidecar_%s_%s_hnsw', x.id, t.parentrelid::oid) as parent
    from pg_partition_tree(x.target) t
    join pg_class c on c.oid = t.relid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_class d on d.oid = t.parentrelid
    join pg_namespace p on p.oid = d.relnamespace
    where t.level > 0
    order by t.level desc
  loop
    return next format(
      'alter index %I.%I attach partition %I.%I', part.parent_schema, part.parent, part.nspname, part.index
    );
  end loop;
end
$$;
