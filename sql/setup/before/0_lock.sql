-- Deploys of several machines migrate at the same time: one after the other. Whoever waits sees what the first has made,
-- for this is a statement of its own.
do $$
begin
  perform set_config('lock_timeout', '60s', true);
  perform pg_advisory_xact_lock(hashtext('sidecar migrate'));
end
$$
