-- Refuses a key that has not one value for each column of the primary key.
create or replace function sidecar.check_key(attachment sidecar.attachment, key jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  columns text;
  wanted integer;
begin
  select string_agg(quote_ident(c.name), ', ' order by c.place), count(*)
  into columns, wanted
  from sidecar.key_columns(attachment.id) c;
  if jsonb_typeof(key) is distinct from 'array' or jsonb_array_length(key) <> wanted then
    raise exception '% is not a key of %', key, attachment.target
      using errcode = 'invalid_parameter_value',
        hint = format('Give a JSON array with the values of its primary key (%s): ''[42]'' or ''["eu", 42]''.', columns);
  end if;
end
$$;
