-- $1 model: columns whose vectors are of another
select
  a.target::text,
  a.source_column::text,
  sidecar.column_name(a.target, a.embedding_attnum)::text as embedding_column,
  a.model
from sidecar.attachment a
where a.model <> $1
