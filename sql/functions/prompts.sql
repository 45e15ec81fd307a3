-- Puts each label where the template says %s.
create or replace function sidecar.prompts(labels text[], template text)
returns text[]
language plpgsql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  if position('%s' in template) = 0 then
    raise exception 'the template does not say where the label goes'
      using errcode = 'invalid_parameter_value',
        hint = 'Put %s in its place: template => ''a photo of a %s''.';
  end if;
  return array(
    select replace(template, '%s', l.label)
    from unnest(labels) with ordinality as l (label, place)
    order by l.place
  );
end
$$;
