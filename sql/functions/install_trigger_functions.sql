-- Makes the trigger functions of one attachment, with its key columns written out: a statement whose text is
-- fixed is planned once a session (generic functions with EXECUTE made a single-row INSERT 1.5 times slower).
-- Such a text breaks when a key column is renamed. So each function first compares the names in the key's
-- index, and builds its statement anew where they differ, until the next upgrade or sweep writes it again.
create or replace function sidecar.install_trigger_functions(attachment integer)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  same_names text;
  header text;
  upsert constant text := '
      on conflict (attachment, key) do update
      set generation = pending.generation + 1, attempts = 0, lane = 1, due_at = clock_timestamp()';
begin
  select * into strict x from sidecar.attachment a where a.id = install_trigger_functions.attachment;
  select string_agg(
    format('pg_get_indexdef(%s, %s, false) = %L', x.key_index::oid, place, quote_ident(name)),
    ' and '
    order by place
  )
  into same_names
  from sidecar.key_columns(x.id);
  header := $text$
create or replace function sidecar.%I()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
$text$ || case
    when (select bool_and(native) from sidecar.key_columns(x.id)) then ''
    else 'set timezone = utc set datestyle = iso set intervalstyle = postgres set extra_float_digits = 1'
  end || $text$
as $function$
$text$;

  execute format(
    header || $text$
declare
  asleep boolean;
begin
  if %2$s then
    with queued as (
      insert into sidecar.pending (attachment, key)
      select %3$s, %4$s from new_rows n %5$s
    )
    select exists (select from sidecar.bell where asleep_until > clock_timestamp()) into asleep;
  else
    execute format(
      'with queued as (insert into sidecar.pending (attachment, key) select %3$s, %%s from new_rows n %5$s)
      select exists (select from sidecar.bell where asleep_until > clock_timestamp())',
      sidecar.key_expression(%3$s, 'n')
    ) into asleep;
  end if;
  if asleep then
    perform pg_notify('sidecar', '');
  end if;
  return null;
end
$function$
$text$,
    format('queue_%s_statement', x.id), same_names, x.id, sidecar.key_expression(x.id, 'n'), upsert
  );

  execute format(
    header || $text$
declare
  changed jsonb;
begin
  if %2$s then
    changed := %4$s;
  else
    execute 'select ' || sidecar.key_expression(%3$s, '($1)') into changed using new;
  end if;
  insert into sidecar.pending (attachment, key)
  values (%3$s, changed) %5$s;
  return null;
end
$function$
$text$,
    format('queue_%s_row', x.id), same_names, x.id, sidecar.key_expression(x.id, 'new'), upsert
  );

  if x.on_change = 'clear' then
    execute format(
      header || $text$
begin
  new.%2$I := null;
  return new;
end
$function$
$text$,
      format('clear_%s_row', x.id), x.embedding_column
    );
  end if;
end
$$;
