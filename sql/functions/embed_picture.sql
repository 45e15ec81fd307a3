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
  code text;
  message text;
  hint text;
begin
  embedding := null;
  if question is null then
    return;
  end if;
  call sidecar.converse(null, question, timeout, reply, code, message, hint);
  if code is not null then
    raise exception using errcode = code, message = message, hint = hint;
  end if;
  embedding := reply[1];
end
$$;
