-- $1 model, $2 how many at most: requests that nobody else works on, with the vectors of their texts that are known already
with waiting as materialized (
  select r.id
  from sidecar.request r
  where r.model = $1
    and r.reply is null
    and r.error is null
    and (r.taken_until is null or r.taken_until < clock_timestamp())
    and r.asked_at > clock_timestamp() - interval '30 s'
  order by r.asked_at
  limit $2
  for update skip locked
)
update sidecar.request r
set taken_until = clock_timestamp() + interval '2 s'
from waiting w
where r.id = w.id
returning
  r.id,
  r.texts,
  r.image,
  extract(epoch from clock_timestamp() - r.asked_at)::float8 as waited,
  (
    select array_agg(c.embedding order by q.position)
    from unnest(r.texts) with ordinality as q (content, position)
    left join sidecar.vector_cache c
      on c.model = r.model
      and c.modality = 'text'
      and c.digest = sha256(convert_to(q.content, 'UTF8'))
  ) as known
