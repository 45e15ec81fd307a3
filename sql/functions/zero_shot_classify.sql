-- Which of the labels suits an embedding best: probabilities that sum to 1, best first, and the cosine similarity. The
-- factor 100 is CLIP's logit scale, which its training clips there (Radford et al., Learning Transferable Visual Models
-- From Natural Language Supervision, 2021, section 2.5).
-- With a parsed body, so that it is inlined and the prompts are embedded once a query, not once a row; such a body needs
-- embed_text and prompts to be there, and so this file's name comes after theirs. Its operators are looked up when it is
-- made, in the schema of pgvector too: so all operands have the very types that PostgreSQL's operators take.
create or replace function sidecar.classify(embedding vector, labels text[], template text default '%s')
returns table (label text, score double precision, similarity double precision)
language sql
stable
rows 10
begin atomic
  select
    s.label,
    exp(100::double precision * (s.similarity - max(s.similarity) over ()))
      / sum(exp(100::double precision * (s.similarity - s.best))) over () as score,
    s.similarity
  from (
    select
      l.label,
      1::double precision - (classify.embedding <=> l.vector) as similarity,
      max(1::double precision - (classify.embedding <=> l.vector)) over () as best
    from unnest(
      classify.labels,
      sidecar.embed_text(sidecar.prompts(classify.labels, classify.template))
    ) as l (label, vector)
    where l.label is not null
  ) as s
  order by s.similarity desc, s.label;
end;
