-- Whether a table holds any row; asked with the caller's rights.
create or replace function sidecar.has_rows(target regclass)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  answer boolean;
begin
  execute format('select exists (select from %s)', target) into answer;
  return answer;
end
$$;
