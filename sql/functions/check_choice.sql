-- One of a fixed set of words, or an error that lists them. NULL passes where it has a meaning of its own.
create or replace function sidecar.check_choice(parameter text, value text, allowed text[], nullable boolean default false)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if value <> all (allowed) or value is null and not nullable then
    raise exception '% => % is not possible', parameter, quote_nullable(value)
      using errcode = 'invalid_parameter_value',
        hint = format('Use one of: %s.', array_to_string(allowed, ', '));
  end if;
end
$$;
