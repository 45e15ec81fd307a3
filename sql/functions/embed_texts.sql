-- The vectors of several texts in one round trip, in their order; NULL for a NULL.
create or replace function sidecar.embed_text(questions text[])
returns vector[]
language plpgsql
immutable
strict
parallel restricted
cost 10000
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return sidecar.vectors_of(questions, null);
end
$$;
