-- A statement that fails is logged by default, and with it the question that it asks. Only who may set log_min_error_statement
-- can keep that from happening: a superuser, or since PostgreSQL 15 who was granted it. Elsewhere the log has what the
-- application wrote into its statement; a question that was sent as a parameter is not in it.
do $$
declare
  asks regprocedure;
begin
  for asks in
    select p.oid
    from pg_proc p
    where p.pronamespace = 'sidecar'::regnamespace
      and p.proname in ('embed_text', 'embed_image', 'ask', 'answer', 'nap', 'refuse')
  loop
    execute format('alter function %s set log_min_error_statement = panic', asks);
  end loop;
exception
  when insufficient_privilege then
    null;
end
$$
