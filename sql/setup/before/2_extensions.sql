-- vector is needed; dblink only by embed_text inside a query, so its absence is a notice. They go where the search_path of
-- whoever migrates says, which holds for nothing else here.
do $$
declare
  narrow constant text := current_setting('search_path');
begin
  if not exists (select from pg_extension where extname = 'vector') then
    begin
      perform set_config('search_path', current_setting('sidecar.search_path'), true);
      create extension vector;
      perform pg_catalog.set_config('search_path', narrow, true);
    exception
      when undefined_file or feature_not_supported then
        raise exception 'pgvector is not installed on this server'
          using errcode = 'undefined_object',
            hint = 'Install the package pgvector on the database server, then run sidecar migrate again.';
      when insufficient_privilege then
        raise exception 'the role % may not create the extension vector', current_user
          using errcode = 'insufficient_privilege',
            hint = 'Let an administrator run: CREATE EXTENSION vector; then run sidecar migrate again.';
    end;
  end if;
  if not exists (select from pg_extension where extname = 'dblink') then
    begin
      perform set_config('search_path', current_setting('sidecar.search_path'), true);
      create extension dblink;
      perform pg_catalog.set_config('search_path', narrow, true);
      -- How the way back knows that it may drop it.
      comment on extension dblink is 'made by sidecar migrate, for sidecar.embed_text';
    exception
      when undefined_file or feature_not_supported then
        raise notice 'dblink is not installed on this server: CALL sidecar.embed(...) works, sidecar.embed_text(...) does not';
      when insufficient_privilege then
        raise notice 'sidecar.embed_text(...) needs dblink; let an administrator run: CREATE EXTENSION dblink; then run sidecar migrate again';
    end;
  end if;
end
$$
