-- Writes answers, items of any number of requests at once, and keeps the vectors for the next one who asks. An item with no
-- digest is in the cache already, or is the answer to a NULL. What was withdrawn meanwhile is still kept.
-- A function, so that a program can hand over vectors without knowing the schema of pgvector.
create or replace function sidecar.reply(
  requests bigint[],
  positions integer[],
  embeddings vector[],
  digests bytea[],
  modality text[],
  model text
)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  with item as materialized (
    select *
    from unnest(reply.requests, reply.positions, reply.embeddings, reply.digests, reply.modality)
      as i (request, "position", embedding, digest, modality)
  ),
  replied as (
    update sidecar.request r
    set reply = a.reply
    from (
      select i.request, array_agg(i.embedding order by i.position) as reply
      from item i
      group by i.request
    ) as a
    where r.id = a.request
  )
  insert into sidecar.vector_cache (model, modality, digest, embedding)
  select distinct on (i.modality, i.digest) reply.model, i.modality, i.digest, i.embedding
  from item i
  where i.digest is not null
    and i.embedding is not null
  order by i.modality, i.digest
  on conflict do nothing
$$;
