-- A name made of several: joined by _, and where that is longer than PostgreSQL's 63 bytes, cut and ended with a digest of
-- the whole, so that two long names stay two.
create or replace function sidecar.joined_name(variadic parts text[])
returns name
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  whole text := array_to_string(parts, '_');
  stem text := whole;
begin
  if octet_length(whole) <= 63 then
    return whole;
  end if;
  while octet_length(stem) > 54 loop
    stem := left(stem, -1);
  end loop;
  return stem || '_' || left(encode(sha256(convert_to(whole, 'UTF8')), 'hex'), 8);
end
$$;
