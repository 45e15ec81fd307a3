-- The attachment of a table's column, or its only one; of a partition it is that of the partitioned table.
create or replace function sidecar.find_attachment(target regclass, source_column name default null)
returns sidecar.attachment
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  candidates sidecar.attachment[];
  names text;
begin
  if target is null then
    raise exception 'no table was given'
      using errcode = 'null_value_not_allowed',
        hint = 'Give an attached table; SELECT * FROM sidecar.status; lists them.';
  end if;
  select array_agg(a order by a.source_attnum), string_agg(quote_ident(sidecar.column_name(a.target, a.source_attnum)), ', ')
  into candidates, names
  from sidecar.attachment known
  cross join lateral sidecar.located(known) a
  where known.target = find_attachment.target
    or known.target in (select p.relid from pg_partition_ancestors(find_attachment.target) p);
  -- A table that was attached before it became a partition: its own come first.
  if exists (select from sidecar.attachment a where a.target = find_attachment.target) then
    select array_agg(a order by a.source_attnum), string_agg(quote_ident(sidecar.column_name(a.target, a.source_attnum)), ', ')
    into candidates, names
    from sidecar.attachment known
    cross join lateral sidecar.located(known) a
    where known.target = find_attachment.target;
  end if;
  if candidates is null then
    raise exception '% is not attached', target
      using errcode = 'object_not_in_prerequisite_state',
        hint = format('SELECT sidecar.attach(%L, %L);', target, coalesce(source_column, '<column>'));
  end if;
  if source_column is null then
    if cardinality(candidates) > 1 then
      raise exception '% has several attached columns: %', target, names
        using errcode = 'ambiguous_column',
          hint = 'Say which one: source_column => ''...''.';
    end if;
    return candidates[1];
  end if;
  for i in 1..cardinality(candidates) loop
    if sidecar.column_name(candidates[i].target, candidates[i].source_attnum) = source_column then
      return candidates[i];
    end if;
  end loop;
  raise exception 'column % of % is not attached', quote_ident(source_column), target
    using errcode = 'object_not_in_prerequisite_state',
      hint = format('Attached are: %s. To attach this one: SELECT sidecar.attach(%L, %L);', names, target, source_column);
end
$$;
