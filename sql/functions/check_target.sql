-- What attach needs to know of a table, or an error that names the next step.
create or replace function sidecar.check_target(target regclass, source_column name, modality text)
returns table (source_attnum smallint, holds text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  relation record;
  source record;
  named name := check_target.source_column;
begin
  if check_target.target is null or named is null then
    raise exception 'sidecar.attach needs a table and a column'
      using errcode = 'null_value_not_allowed',
        hint = 'Example: SELECT sidecar.attach(''products'', ''photo'');';
  end if;
  select c.relkind, c.relpersistence, c.relnamespace into relation from pg_class c where c.oid = check_target.target;
  if relation.relpersistence = 't' then
    raise exception '% is a temporary table', check_target.target
      using errcode = 'wrong_object_type',
        hint = 'No other session sees its rows, a sidecar neither: attach an ordinary or UNLOGGED table, or ask '
          'sidecar.embed_text for its vectors.';
  end if;
  if not found or relation.relkind not in ('r', 'p') then
    raise exception '% is not an ordinary or partitioned table', check_target.target
      using errcode = 'wrong_object_type',
        hint = 'Attach the table that holds the column; views and foreign tables have no triggers that a sidecar could use.';
  end if;
  if exists (select from pg_inherits i join pg_class p on p.oid = i.inhparent
             where i.inhrelid = check_target.target and p.relkind = 'p') then
    raise exception '% is a partition', check_target.target
      using errcode = 'wrong_object_type',
        hint = format(
          'Attach the partitioned table %s; its partitions follow.', pg_partition_root(check_target.target)
        );
  end if;

  select a.attnum, a.atttypid as type
  into source
  from pg_attribute a
  where a.attrelid = check_target.target
    and a.attname = named
    and a.attnum > 0
    and not a.attisdropped;
  if not found then
    raise exception 'column % of % does not exist', quote_ident(named), check_target.target
      using errcode = 'undefined_column',
        hint = format(
          'Its columns: %s.',
          (
            select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
            from pg_attribute a
            where a.attrelid = check_target.target and a.attnum > 0 and not a.attisdropped
          )
        );
  end if;
  source_attnum := source.attnum;
  holds := sidecar.type_holds(source.type);
  if holds is null or holds <> coalesce(check_target.modality, holds) then
    raise exception 'column % of % has the type %, which does not hold %',
      quote_ident(named), check_target.target, format_type(source.type, null),
      case coalesce(check_target.modality, '') when '' then 'images or texts' else check_target.modality || 's' end
      using errcode = 'datatype_mismatch',
        hint = format(
          'Images are bytea columns; texts are text, varchar, char or citext columns. Of another type, a generated column '
          'can hold the text: ALTER TABLE %s ADD %I text GENERATED ALWAYS AS (%I::text) STORED;',
          check_target.target, left(named, 50) || '_text', named
        );
  end if;

  perform
  from pg_index i
  where i.indrelid = check_target.target and i.indisprimary;
  if not found then
    raise exception '% has no primary key', check_target.target
      using errcode = 'object_not_in_prerequisite_state',
        hint = format(
          'The sidecar finds rows by their primary key: ALTER TABLE %s ADD PRIMARY KEY (...);', check_target.target
        );
  end if;
  return next;
end
$$;
