-- The number of the vector column, which is added where it is absent: without a default, so nothing is rewritten. Locks
-- the table first, and for good where the column is absent: a lock that is raised later can deadlock.
create or replace function sidecar.add_embedding_column(target regclass, name name, width integer)
returns smallint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  number smallint;
  type text;
  generated boolean;
  wanted text;
begin
  select format('%I.vector(%s)', n.nspname, width)
  into wanted
  from pg_extension e
  join pg_namespace n on n.oid = e.extnamespace
  where e.extname = 'vector';
  execute format(
    'lock table %s in %s mode',
    target,
    case
      when exists (select from pg_attribute a where a.attrelid = target and a.attname = name and not a.attisdropped)
      then 'share row exclusive'
      else 'access exclusive'
    end
  );
  select a.attnum, format_type(a.atttypid, a.atttypmod), a.attgenerated <> ''
  into number, type, generated
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
  elsif generated then
    raise exception 'column % of % is generated: nobody can write vectors to it', quote_ident(name), target
      using errcode = 'generated_always',
        hint = 'Name another column with embedding => ''...''; sidecar.attach adds it.';
  end if;
  return number;
end
$$;
