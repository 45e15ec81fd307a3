-- SQL text of the content hash of a source value: SHA-256 of its bytes, or of its text in UTF-8.
create or replace function sidecar.content_hash(modality text, value text)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select case modality
    when 'image' then format('pg_catalog.sha256(%s::pg_catalog.bytea)', value)
    else format('pg_catalog.sha256(pg_catalog.convert_to(%s::pg_catalog.text, ''UTF8''))', value)
  end
$$;
