-- $1 model, $2 width: columns that this model cannot fill, and attachments that were made with another model
select
  a.target::text,
  a.source_column::text,
  sidecar.embedding_name(a)::text as embedding_column,
  a.model,
  c.atttypmod as width
from sidecar.attachment a
join pg_catalog.pg_attribute c on c.attrelid = a.embedding_table and c.attnum = a.embedding_attnum
where (a.model = $1 or a.model is null) and c.atttypmod <> $2
  or a.model <> $1
