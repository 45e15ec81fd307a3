-- Puts a question where the sidecar finds it. Out comes either what is known already (reply), or why nobody will answer
-- (code, message, hint), or the request's number with the time until which its answer is worth waiting for.
-- The number is random: only who asked can fetch the answer.
create or replace function sidecar.ask(
  texts text[],
  image bytea,
  timeout interval,
  out request bigint,
  out deadline timestamptz,
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
  model text;
begin
  reply := sidecar.recall(texts, image);
  if reply is not null then
    return;
  end if;
  if pg_is_in_recovery() then
    code := '25006';
    message := 'a read replica cannot ask the sidecar';
    hint := 'Let an administrator point embed_text to the primary, and run there: '
      'ALTER SERVER sidecar_loopback OPTIONS (ADD host ''primary,replica'', ADD target_session_attrs ''read-write'');';
    return;
  end if;
  if current_setting('transaction_read_only')::boolean then
    code := '25006';
    message := 'CALL sidecar.embed writes its question down, which a read-only transaction may not';
    hint := 'Use sidecar.embed_text(...): it works in a read-only transaction.';
    return;
  end if;
  if pg_current_xact_id_if_assigned() is not null then
    code := '25001';
    message := 'CALL sidecar.embed cannot run inside a transaction block';
    hint := 'Use sidecar.embed_text(...) there, or call it before BEGIN (in autocommit mode).';
    return;
  end if;
  model := sidecar.serving_model();
  if model is null then
    code := '55000';
    message := 'no sidecar is running that could embed this';
    hint := 'Start one with: sidecar run. SELECT * FROM sidecar.workers; lists those that live.';
    return;
  end if;
  deadline := clock_timestamp()
    + coalesce(timeout, nullif(current_setting('sidecar.request_timeout', true), '')::interval, interval '5 s');
  insert into sidecar.request (id, model, texts, image)
  overriding system value
  values (
    ('x' || left(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::bigint,
    model,
    ask.texts,
    case when ask.texts is null then ask.image end
  )
  returning id into request;
  perform pg_notify('sidecar_request', '');
end
$$;
