-- The vector of an image's bytes (JPEG, PNG, ...), inside any query.
create or replace function sidecar.embed_image(image bytea)
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
  return (sidecar.vectors_of(null, image))[1];
end
$$;
