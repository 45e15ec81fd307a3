-- Fetches and deletes the answer to a request. While it is not there, and the deadline has not passed, the request's
-- number comes back with how long to sleep before the next look, in seconds.
create or replace function sidecar.answer(
  inout request bigint,
  deadline timestamptz,
  out pause double precision,
  out reply vector[],
  out code text,
  out message text,
  out hint text
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  asked_at timestamptz;
  error text;
begin
  delete from sidecar.request r
  where r.id = answer.request
    and (r.reply is not null or r.error is not null or clock_timestamp() > deadline)
  returning r.reply, r.error, r.message, r.asked_at
  into reply, error, message, asked_at;
  if not found then
    select r.asked_at into asked_at from sidecar.request r where r.id = answer.request;
    if found then
      pause := least(0.005, extract(epoch from clock_timestamp() - asked_at) / 8);
      return;
    end if;
    code := '57014';
    message := 'the question to the sidecar was withdrawn';
    hint := 'Ask again; a restart of the database forgets questions that are under way.';
  elsif error = 'unavailable' then
    code := '57P03';
    hint := 'The question is not at fault; ask again when the sidecar has recovered (SELECT * FROM sidecar.workers;).';
  elsif error is not null then
    code := '22023';
    message := format('%s: %s', error, message);
    hint := case error
      when 'text_empty' then 'Ask with a text that is not empty.'
      else 'The question itself cannot be embedded; change it before asking again.'
    end;
  elsif reply is null then
    code := '57014';
    message := format(
      'the sidecar did not answer within %s s', round(extract(epoch from deadline - asked_at)::numeric, 3)::float8
    );
    hint := 'SET sidecar.request_timeout = ''30s''; waits longer. SELECT * FROM sidecar.workers; shows how busy it is.';
  end if;
  request := null;
end
$$;
