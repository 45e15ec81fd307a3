-- The vector of a text, with no extension but pgvector: CALL sidecar.embed('a red bicycle', NULL); Not in a transaction
-- block, for it commits. Raises object_not_in_prerequisite_state when no sidecar is running, query_canceled after
-- timeout (default: sidecar.request_timeout, else 5 s).
create or replace procedure sidecar.embed(
  question text,
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
  call sidecar.converse(array[question], null, timeout, reply, code, message, hint);
  perform sidecar.refuse(code, message, hint);
  embedding := reply[1];
end
$$;
