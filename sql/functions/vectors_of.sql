-- The vectors of texts, or of one image: from the cache, else over the loopback, for a function inside a query can
-- neither commit nor see what is committed after the query began. Runs inside SECURITY DEFINER functions only.
create or replace function sidecar.vectors_of(texts text[], image bytea)
returns vector[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  vectors sidecar.request.reply%type := sidecar.recall(texts, image);
  answered record;
begin
  if vectors is not null then
    return vectors;
  end if;
  select a.*
  into answered
  from sidecar.loopback(
    format(
      'call sidecar.converse(%L::pg_catalog.text[], %L::pg_catalog.bytea, %L::pg_catalog.interval, null, null, null, null)',
      texts,
      image,
      coalesce(nullif(current_setting('sidecar.request_timeout', true), ''), '5s')::interval
    )
  ) as a;
  perform sidecar.refuse(answered.code, answered.message, answered.hint);
  vectors := answered.reply;
  return vectors;
end
$$;
