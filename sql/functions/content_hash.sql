-- SQL text of the content hash of an attachment's source value: SHA-256 of its bytes, or of its text in UTF-8. Of a column
-- that only names its content it is the hash of the name.
create or replace function sidecar.content_hash(x sidecar.attachment, value text)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when x.modality = 'image' and x.source = 'inline' then format('pg_catalog.sha256(%s::pg_catalog.bytea)', value)
    else format('pg_catalog.sha256(pg_catalog.convert_to(%s::pg_catalog.text, ''UTF8''))', value)
  end
$$;
