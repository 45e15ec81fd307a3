-- Ends a question with an error, where there is one. A function of its own, for a setting goes with it (3_quiet.sql): the
-- database's log then holds the error without the statement, in which the question is.
create or replace function sidecar.refuse(code text, message text, hint text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if code is not null then
    raise exception using errcode = code, message = message,
      hint = coalesce(hint, 'SELECT * FROM sidecar.doctor(); tells what is wrong.');
  end if;
end
$$;
