-- Makes the trigger functions of one attachment, with its key columns written out: a statement whose text is
-- fixed is planned once a session (generic functions with EXECUTE made a single-row INSERT 1.5 times slower).
-- Such a text breaks when a column is renamed. So each function first compares the names, and builds its statement
-- anew where they differ, until the next upgrade writes it again. Bodies are quoted as literals, for a column's name may
-- hold any dollar quote.
create or replace function sidecar.install_trigger_functions(attachment integer)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  embedding name;
  same_names text;
  header text;
  made regprocedure;
  owner text;
  upsert constant text := '
      on conflict (attachment, key) do update
      set generation = pending.generation + 1, attempts = 0, lane = 1, due_at = clock_timestamp()';
begin
  select * into strict x from sidecar.attachment a where a.id = install_trigger_functions.attachment;
  select string_agg(
    format('pg_get_indexdef(%s, %s, false) = %L', i.indexrelid, k.place, quote_ident(k.name)),
    ' and '
    order by k.place
  )
  into same_names
  from sidecar.key_columns(x.id) k
  join pg_index i on i.indrelid = x.target and i.indisprimary;
  same_names := coalesce(same_names, 'false');
  header := $text$
create or replace function sidecar.%I()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
$text$ || case
    when (select bool_and(native) from sidecar.key_columns(x.id)) then ''
    else 'set timezone = utc set datestyle = iso set intervalstyle = postgres set extra_float_digits = 1 set bytea_output = hex'
  end || $text$
as %L
$text$;

  execute format(header, format('queue_%s_statement', x.id), format($text$
begin
  if %1$s then
    insert into sidecar.pending (attachment, key)
    select %2$s, %3$s from new_rows n %4$s;
  else
    execute format(
      'insert into sidecar.pending (attachment, key) select %2$s, %%s from new_rows n %4$s',
      sidecar.key_expression(%2$s, 'n')
    );
  end if;
  if clock_timestamp() < to_timestamp(pg_sequence_last_value('sidecar.bell')) then
    perform pg_notify('sidecar', '');
  end if;
  return null;
end
$text$, same_names, x.id, sidecar.key_expression(x.id, 'n'), upsert));

  execute format(header, format('queue_%s_row', x.id), format($text$
declare
  changed jsonb;
  before jsonb;
begin
  if %1$s then
    changed := %3$s;
    if tg_op = 'UPDATE' then
      before := %5$s;
    end if;
  else
    execute 'select ' || sidecar.key_expression(%2$s, '($1)') into changed using new;
    if tg_op = 'UPDATE' then
      execute 'select ' || sidecar.key_expression(%2$s, '($1)') into before using old;
    end if;
  end if;
  insert into sidecar.pending (attachment, key)
  values (%2$s, changed) %4$s;
  -- The row moved to another key. What a sidecar made of it under the old one is of no use; an entry stays, for another row
  -- may have come to that key.
  if before <> changed then
    update sidecar.pending set generation = generation + 1 where attachment = %2$s and key = before;
    delete from sidecar.failure where attachment = %2$s and key = before;
  end if;
  return null;
end
$text$, same_names, x.id, sidecar.key_expression(x.id, 'new'), upsert, sidecar.key_expression(x.id, 'old')));

  if x.on_change = 'clear' and x.storage = 'table' then
    execute format(header, format('clear_%s_row', x.id), sidecar.clear_companion_body(x.id, same_names));
  elsif x.on_change = 'clear' then
    embedding := coalesce(sidecar.column_name(x.target, x.embedding_attnum), x.embedding_column);
    execute format(header, format('clear_%s_row', x.id), format($text$
declare
  renamed name;
begin
  if exists (
    select from pg_attribute where attrelid = %1$s and attnum = %2$s and attname = %3$L and not attisdropped
  ) then
    new.%3$I := null;
  else
    renamed := (
      select sidecar.column_name(l.target, l.embedding_attnum)
      from sidecar.attachment a
      cross join lateral sidecar.located(a) l
      where a.id = %4$s
    );
    if renamed is not null then
      new := jsonb_populate_record(new, jsonb_build_object(renamed, null));
    end if;
  end if;
  return new;
end
$text$, x.target::oid, x.embedding_attnum, embedding, x.id));
  end if;

  -- Whoever may execute one can put it on a table of its own, and queue what it likes for this attachment.
  select c.relowner::regrole into owner from pg_class c where c.oid = x.target;
  for made in
    select p.oid
    from pg_proc p
    where p.pronamespace = 'sidecar'::regnamespace
      and p.prorettype = 'trigger'::regtype
      and p.proname ~ format('^[a-z]+_%s_', x.id)
  loop
    execute format('revoke execute on function %s from public', made);
    execute format('grant execute on function %s to %s', made, owner);
  end loop;
end
$$;
