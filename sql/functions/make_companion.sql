-- The companion table of storage => 'table', made or found again: the key of the source table, the vector, and what it was
-- made of. `found`: it was there, with vectors of an earlier attachment. Whoever may see a source row may see its vector:
-- a policy asks the source table, so that its row-level security, now or later, holds for the vectors too. CREATE TABLE with
-- the foreign key takes SHARE ROW EXCLUSIVE on the source table until the transaction ends.
create or replace function sidecar.make_companion(
  x sidecar.attachment,
  width integer,
  out companion regclass,
  out embedding_attnum smallint,
  out found boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  relation record;
  name name;
  label text;
  keys record;
  columns text[];
  types text[];
  there record;
begin
  execute format('lock table %s in share row exclusive mode', x.target);
  select c.relname, c.relnamespace, n.nspname, c.relpersistence, c.relowner, pg_get_userbyid(c.relowner) as owner
  into relation
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = x.target;
  name := sidecar.joined_name(relation.relname, x.embedding_column);
  label := format('%I.%I', relation.nspname, name);
  if exists (
    select from pg_attribute a where a.attrelid = x.target and a.attname = x.embedding_column and not a.attisdropped
  ) then
    raise exception '% has a column % already, and a view would need it for the vectors', x.target, quote_ident(x.embedding_column)
      using errcode = 'duplicate_column',
        hint = format(
          'Name another with embedding => ''...'', or drop it: ALTER TABLE %s DROP COLUMN %I;', x.target, x.embedding_column
        );
  end if;

  select
    array_agg(a.attname::text order by k.place) as names,
    array_agg(format_type(a.atttypid, a.atttypmod) order by k.place) as types,
    string_agg(
      format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod))
        || case when a.attcollation in (0, t.typcollation) then '' else format(' collate %I.%I', s.nspname, o.collname) end,
      ', '
      order by k.place
    ) as definitions,
    string_agg(quote_ident(a.attname), ', ' order by k.place) as list,
    bool_and(i.indimmediate) as immediate
  into keys
  from pg_index i
  cross join unnest(i.indkey::smallint[]) with ordinality as k (attnum, place)
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  join pg_type t on t.oid = a.atttypid
  left join pg_collation o on o.oid = a.attcollation
  left join pg_namespace s on s.oid = o.collnamespace
  where i.indrelid = x.target and i.indisprimary and k.place <= i.indnkeyatts;
  if not keys.immediate then
    raise exception 'the primary key of % is deferrable: no other table can refer to it', x.target
      using errcode = 'object_not_in_prerequisite_state',
        hint = 'Use storage => ''column'', or make the primary key NOT DEFERRABLE.';
  end if;
  columns := keys.names;
  foreach name in array array['embedding', 'model', 'content_hash', 'embedded_at']::name[] loop
    while name = any (columns) loop
      name := name || '_';
    end loop;
    columns := columns || name::text;
  end loop;
  select
    keys.types || array[
      format('%s(%s)', format_type(format('%I.vector', n.nspname)::regtype, null), width),
      'text', 'bytea', 'timestamp with time zone'
    ]
  into types
  from pg_extension e
  join pg_namespace n on n.oid = e.extnamespace
  where e.extname = 'vector';
  embedding_attnum := cardinality(keys.names) + 1;

  companion := to_regclass(label);
  found := companion is not null;
  if found then
    select
      c.relkind,
      c.relowner,
      array_agg(a.attname::text order by a.attnum) as columns,
      array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum) as types,
      exists (
        select from pg_constraint f where f.conrelid = c.oid and f.confrelid = x.target and f.contype = 'f'
      ) as refers
    into there
    from pg_class c
    left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
    where c.oid = companion
    group by c.oid, c.relkind, c.relowner;
    -- Another's table may have triggers, which would run with the sidecar's rights.
    if there.relkind <> 'r' or there.relowner <> relation.relowner or not there.refers or there.columns is distinct from columns
      or array_remove(there.types, there.types[embedding_attnum])
        is distinct from array_remove(types, types[embedding_attnum])
    then
      raise exception 'the name % is taken, and the vectors of %.% would be stored there',
        label, x.target, quote_ident(x.source_column)
        using errcode = 'duplicate_table',
          hint = 'Name another with embedding => ''...'': the table of the vectors is called after the table and that name.';
    elsif there.types <> types then
      raise exception 'column % of % has the type %; the model''s vectors need vector(%)',
        columns[embedding_attnum], label, there.types[embedding_attnum], width
        using errcode = 'datatype_mismatch',
          hint = format('Name another with embedding => ''...'', or drop the old vectors: DROP TABLE %s CASCADE;', label);
    end if;
  else
    if not has_schema_privilege(current_user, relation.relnamespace, 'create') then
      raise exception 'storage => ''table'' makes a table and a view in the schema %, where % may create nothing',
        quote_ident(relation.nspname), quote_ident(current_user)
        using errcode = 'insufficient_privilege',
          hint = format('GRANT CREATE ON SCHEMA %I TO %I; or use storage => ''column''.', relation.nspname, current_user);
    end if;
    execute format(
      'create%1$s table %2$s (
        %3$s, %4$I %5$s not null, %6$I text, %7$I bytea not null, %8$I timestamptz not null default now(),
        primary key (%9$s),
        foreign key (%9$s) references %10$s (%9$s) on update cascade on delete cascade
      )',
      case relation.relpersistence when 'u' then ' unlogged' else '' end,
      label, keys.definitions,
      columns[embedding_attnum], types[embedding_attnum],
      columns[embedding_attnum + 1], columns[embedding_attnum + 2], columns[embedding_attnum + 3],
      keys.list, x.target
    );
    companion := label::regclass;
    execute format(
      'comment on table %s is %L',
      companion, format('Vectors of %s.%I, kept in step by the schema sidecar', x.target, x.source_column)
    );
    execute format('alter table %s owner to %I', companion, relation.owner);
  end if;
end
$$;
