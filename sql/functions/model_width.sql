-- The width of a model's vectors; 768 (EVA02-CLIP L/14) as long as no sidecar has said otherwise.
create or replace function sidecar.model_width(model text)
returns integer
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce((select width from sidecar.model m where m.name = model_width.model), 768)
$$;
