-- The view that shows the vectors of a companion table as if they were a column: all columns of the source table, and the
-- vector, NULL where there is none yet. It reads with the rights of who asks, so that row-level security and grants of
-- both tables hold; before PostgreSQL 15 a view cannot do that, so there it is its owner's alone. Made anew where it is
-- there: a view's columns are fixed when it is made.
create or replace function sidecar.make_view(attachment integer)
returns regclass
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  relation record;
  view regclass := sidecar.companion_view(make_view.attachment);
  label text;
  invoker boolean := current_setting('server_version_num')::integer >= 150000;
  visible name := 'sidecar_visible';
begin
  select * into strict x from sidecar.attachment a where a.id = make_view.attachment;
  select t.relname, n.nspname, pg_get_userbyid(e.relowner) as owner
  into relation
  from pg_class e
  join pg_namespace n on n.oid = e.relnamespace
  join pg_class t on t.oid = x.target
  where e.oid = x.embedding_table;

  execute format('alter table %s enable row level security', x.embedding_table);
  if exists (select from pg_policy p where p.polrelid = x.embedding_table and p.polname = visible) then
    execute format('drop policy %I on %s', visible, x.embedding_table);
  end if;
  execute format(
    'create policy %I on %s for select using (exists (select from %s t where %s))',
    visible, x.embedding_table, sidecar.target_table(x.id),
    (
      select string_agg(format('t.%I %s %s.%I', k.source_name, k.equals, e.relname_quoted, k.name), ' and ' order by k.place)
      from sidecar.companion_keys(x.id) k
      cross join (select quote_ident(c.relname) as relname_quoted from pg_class c where c.oid = x.embedding_table) e
    )
  );
  perform sidecar.copy_rights(x.target, x.embedding_table, readers => true);

  if view is not null then
    label := view::text;
    execute format('drop view %s', view);
  else
    label := format('%I.%I', relation.nspname, sidecar.joined_name(relation.relname, 'with', x.embedding_column));
    if to_regclass(label) is not null then
      raise exception 'the name % is taken, and a view of % with its vectors would be called so', label, x.target
        using errcode = 'duplicate_table',
          hint = 'Name another with embedding => ''...'': the view is called after the table and that name.';
    end if;
  end if;
  execute format(
    'create view %s %s as select %s, e.%I as %I from %s t left join %s e on %s',
    label,
    case when invoker then 'with (security_invoker = true)' else '' end,
    (
      select string_agg(format('t.%I', a.attname), ', ' order by a.attnum)
      from pg_attribute a
      where a.attrelid = x.target and a.attnum > 0 and not a.attisdropped
    ),
    sidecar.column_name(x.embedding_table, x.embedding_attnum),
    x.embedding_column,
    sidecar.target_table(x.id),
    x.embedding_table,
    sidecar.companion_join(x.id, 'e', 't')
  );
  view := label::regclass;
  execute format('alter view %s owner to %I', view, relation.owner);
  perform sidecar.copy_rights(x.target, view, readers => invoker);
  execute format(
    'comment on view %s is %L',
    view, format('sidecar: %s with its vectors; SELECT sidecar.renew_view(...) makes it anew', x.target)
  );
  raise notice 'the vectors of %.% are in the table %; the view % shows them as a column',
    x.target, quote_ident(x.source_column), x.embedding_table, view;
  return view;
end
$$;
