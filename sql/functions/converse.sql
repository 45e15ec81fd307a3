-- Asks and waits for the answer, with no lock, no snapshot and no transaction held meanwhile. A fault comes back as data
-- (code is its SQLSTATE), so that the loopback's log never holds a question.
-- A procedure that commits may have neither SECURITY DEFINER nor SET: every name here is qualified, no operator is used.
create or replace procedure sidecar.converse(
  texts text[],
  image bytea,
  timeout interval,
  inout reply vector[],
  inout code text,
  inout message text,
  inout hint text
)
language plpgsql
as $$
declare
  request bigint;
  deadline timestamp with time zone;
  pause double precision := 0.0005;
begin
  begin
    select a.request, a.deadline, a.reply, a.code, a.message, a.hint
    into request, deadline, reply, code, message, hint
    from sidecar.ask(texts, image, timeout) as a;
  exception
    when others then
      get stacked diagnostics code = returned_sqlstate, message = message_text, hint = pg_exception_hint;
  end;
  if request is not null then
    commit;
  end if;
  while request is not null loop
    perform sidecar.nap(pause);
    select a.request, a.pause, a.reply, a.code, a.message, a.hint
    into request, pause, reply, code, message, hint
    from sidecar.answer(request, deadline) as a;
    commit;
  end loop;
end
$$;
