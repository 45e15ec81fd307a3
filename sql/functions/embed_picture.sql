-- The vector of an image's bytes, as CALL sidecar.embed(text, ...) does it.
create or replace procedure sidecar.embed(
  question bytea,
  inout embedding vector,
  timeout interval default null
)
language plpgsql
as $$
declare
  reply sidecar.request.reply%type;
  code pg_catalog.text;
  message pg_catalog.text;
  hint pg_catalog.text;
begin
  embedding := null;
  if question is null then
    return;
  end if;
  call sidecar.converse(null, question, timeout, reply, code, message, hint);
  perform sidecar.refuse(code, message, hint);
  embedding := reply[1];
end
$$;
