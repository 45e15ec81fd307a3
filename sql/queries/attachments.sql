-- The attachments of the sidecar's model, each with the statements for its table
select
  a.id,
  a.target::text,
  a.modality,
  a.backfill,
  a.index = 'hnsw'
    and a.backfill = 'done'
    and sidecar.index_statement(a.id) is not null
    and not exists (select from sidecar.pending p where p.attachment = a.id and p.lane = 3) as wants_index,
  pg_has_role(c.relowner, 'usage') as owned,
  s.sizes,
  s.load,
  s.write,
  s.feed
from sidecar.attachment a
join pg_catalog.pg_class c on c.oid = a.embedding_table
cross join lateral sidecar.statements(a.id) as s
where a.model = $1
