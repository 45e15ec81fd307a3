-- The vector of a text, inside any query. IMMUTABLE: for one model the same text always has the same vector, and so the
-- planner asks once a plan; a change of model changes the column and with it every plan that names it.
create or replace function sidecar.embed_text(question text)
returns vector
language plpgsql
immutable
strict
parallel restricted
cost 10000
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return (sidecar.vectors_of(array[question], null))[1];
end
$$;
