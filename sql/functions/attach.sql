-- Attaches one source column. Runs with the caller's rights: the caller owns the table and may write
-- sidecar.attachment (role sidecar_admin). Locks the table until the transaction ends: ACCESS EXCLUSIVE where the vector
-- column is added, else SHARE ROW EXCLUSIVE; nothing is rewritten, so that is short. The same call again locks nothing.
-- adopt: vectors that are there already are of the present content and of this model, says the caller.
-- Rows that are there already are queued by the sidecar in slices, never here.
create or replace function sidecar.attach(
  target regclass,
  source_column name,
  embedding name default null,
  modality text default null,
  source text default 'inline',
  storage text default 'column',
  index text default 'hnsw',
  on_change text default 'keep',
  backfill boolean default true,
  model text default null,
  adopt boolean default false
)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  plan record;
  found_vectors boolean;
  filled boolean;
  stem text := source_column;
  new_index text;
begin
  perform sidecar.check_choice('modality', modality, array['image', 'text'], nullable => true);
  perform sidecar.check_choice('source', source, array['inline', 'url', 'file', 'large_object']);
  perform sidecar.check_choice('storage', storage, array['column', 'table']);
  perform sidecar.check_choice('index', index, array['hnsw', 'none']);
  perform sidecar.check_choice('on_change', on_change, array['keep', 'clear']);
  perform sidecar.check_choice('backfill', backfill::text, array['true', 'false']);
  perform sidecar.check_choice('adopt', adopt::text, array['true', 'false']);
  if attach.source <> 'inline' then
    raise exception 'source => % is not supported by this version', quote_literal(source)
      using errcode = 'feature_not_supported',
        hint = 'Use source => ''inline''.';
  end if;

  -- After a restore, what was attached before has other column numbers.
  perform sidecar.note_columns();
  select * into plan from sidecar.check_target(target, source_column, modality);
  x.target := target;
  x.source_column := source_column;
  x.source_attnum := plan.source_attnum;
  x.origin := sidecar.origin(target);
  x.swept := backfill;
  x.key_attnums := sidecar.primary_key(target);
  select format('%I.%I', n.nspname, c.relname)
  into x.target_name
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = target;
  x.modality := plan.holds;
  x.source := source;
  x.storage := storage;
  x.index := index;
  x.on_change := on_change;
  -- A name of 63 bytes has no room for more: it is cut, lest the sum be cut to the source column itself.
  while octet_length(stem || '_embedding') > 63 loop
    stem := left(stem, -1);
  end loop;
  x.embedding_column := coalesce(embedding, stem || '_embedding');
  x.model := coalesce(attach.model, (select name from sidecar.model where serving));

  x.id := sidecar.check_attached(x, embedding, attach.model);
  if x.id is not null then
    return x.id;
  end if;
  if x.storage = 'table' then
    select c.companion, c.embedding_attnum, c.found
    into x.embedding_table, x.embedding_attnum, found_vectors
    from sidecar.make_companion(x, sidecar.model_width(x.model)) c;
  else
    found_vectors := exists (
      select
      from pg_attribute c
      where c.attrelid = attach.target and c.attname = x.embedding_column and not c.attisdropped
    );
    x.embedding_table := target;
    x.embedding_attnum := sidecar.add_embedding_column(target, x.embedding_column, sidecar.model_width(x.model));
  end if;
  -- From here on nobody else writes to the table, or attaches it; who did so just now had the lock first.
  x.id := sidecar.check_attached(x, embedding, attach.model);
  if x.id is not null then
    return x.id;
  end if;
  if exists (
    select
    from sidecar.attachment a
    where a.embedding_table = x.embedding_table and a.embedding_attnum = x.embedding_attnum
  ) then
    raise exception 'column % of % holds the vectors of another attached column', quote_ident(x.embedding_column), target
      using errcode = 'object_not_in_prerequisite_state',
        hint = 'Name another column with embedding => ''...''; sidecar.attach adds it.';
  end if;
  -- In REPEATABLE READ, rows that were committed before the lock may be invisible here.
  filled := sidecar.has_rows(target) or current_setting('transaction_isolation') not like 'read %';
  -- Vectors that are there already may be of an older content, or of another model: all rows are embedded again.
  x.backfill := case
    when not attach.backfill or not filled then 'done'
    when found_vectors and not adopt then 'all'
    else 'missing'
  end;
  insert into sidecar.attachment (
    target, target_name, source_column, source_attnum, embedding_column, embedding_table, embedding_attnum, key_attnums,
    origin, swept, modality, source, storage, index, on_change, model, backfill
  )
  values (
    x.target, x.target_name, x.source_column, x.source_attnum, x.embedding_column, x.embedding_table, x.embedding_attnum,
    x.key_attnums, x.origin, x.swept,
    x.modality, x.source, x.storage, x.index, x.on_change, x.model, x.backfill
  )
  returning id into x.id;
  if x.storage = 'table' then
    perform sidecar.make_worker_views(x.id);
    perform sidecar.make_view(x.id);
  end if;
  perform sidecar.install_trigger_functions(x.id);
  perform sidecar.install_triggers(x.id);
  perform sidecar.grant_to_worker(x.id);
  new_index := sidecar.index_statement(x.id, online => false);
  if x.index = 'hnsw' and not filled and new_index is not null then
    execute new_index;
  end if;
  if exists (
    select from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = target and not c.relispartition
  ) then
    raise notice 'tables inherit from %: rows of theirs are not embedded until they are attached themselves', target;
  end if;
  perform pg_notify('sidecar', '');
  return x.id;
end
$$;
