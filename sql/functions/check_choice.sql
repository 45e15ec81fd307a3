-- One of a fixed set of words, or an error that lists them. NULL is left to the caller's default.
create or replace function sidecar.check_choice(parameter text, value text, allowed text[])
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if value <> all (allowed) then
    raise exception '% => % is not possible', parameter, quote_literal(value)
      using errcode = 'invalid_parameter_value',
        hint = format('Use one of: %s.', array_to_string(allowed, ', '));
  end if;
end
$$;
