-- The vectors of several texts in one round trip, as CALL sidecar.embed(text, ...) does it. Not named embed: PostgreSQL
-- could then no longer tell which one CALL sidecar.embed('a red bicycle', NULL) means.
create or replace procedure sidecar.embed_many(
  questions text[],
  inout embeddings vector[],
  timeout interval default null
)
language plpgsql
as $$
declare
  code pg_catalog.text;
  message pg_catalog.text;
  hint pg_catalog.text;
begin
  embeddings := null;
  if questions is null then
    return;
  end if;
  call sidecar.converse(questions, null, timeout, embeddings, code, message, hint);
  perform sidecar.refuse(code, message, hint);
end
$$;
