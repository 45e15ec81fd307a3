-- The number of the vector column, which is added where it is absent: without a default, so nothing is rewritten.
create or replace function sidecar.add_embedding_column(target regclass, name name, width integer)
returns smallint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  number smallint;
  type text;
  wanted text;
begin
  select format('%I.vector(%s)', n.nspname, width)
  into wanted
  from pg_extension e
  join pg_namespace n on n.oid = e.extnamespace
  where e.extname = 'vector';
  select a.attnum, format_type(a.atttypid, a.atttypmod)
  into number, type
  from pg_attribute a
  where a.attrelid = target and a.attname = name and not a.attisdropped;
  if not found then
    execute format('alter table %s add column %I %s', target, name, wanted);
    select a.attnum into number from pg_attribute a where a.attrelid = target and a.attname = name;
  elsif type <> format_type(wanted::regtype, width) then
    raise exception 'column % of % has the type %; the model''s vectors need vector(%)',
      quote_ident(name), target, type, width
      using errcode = 'datatype_mismatch',
        hint = 'Name another column with embedding => ''...'', or drop this one and let sidecar.attach add it.';
  end if;
  return number;
end
$$;
