-- $1 most entries: the oldest answers beyond that are forgotten
delete from sidecar.vector_cache
where created_at < (
  select created_at
  from sidecar.vector_cache
  order by created_at desc
  offset $1
  limit 1
)
