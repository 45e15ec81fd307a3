-- Attaches one source column. Runs with the caller's rights: the caller owns the table and may write
-- sidecar.attachment (role sidecar_admin). Locks on the table until the transaction ends: ACCESS EXCLUSIVE for
-- an instant where the vector column is added, else SHARE ROW EXCLUSIVE. Rows that are there already are queued by
-- the sidecar in slices, never here.
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
  model text default null
)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  known sidecar.attachment;
  plan record;
begin
  perform sidecar.check_choice('modality', modality, array['image', 'text']);
  perform sidecar.check_choice('source', source, array['inline', 'url', 'file', 'large_object']);
  perform sidecar.check_choice('storage', storage, array['column', 'table']);
  perform sidecar.check_choice('index', index, array['hnsw', 'none']);
  perform sidecar.check_choice('on_change', on_change, array['keep', 'clear']);
  if attach.source <> 'inline' or attach.storage <> 'column' then
    raise exception 'source => %, storage => % is not supported by this version', quote_literal(source), quote_literal(storage)
      using errcode = 'feature_not_supported',
        hint = 'Use source => ''inline'' and storage => ''column''.';
  end if;

  select * into plan from sidecar.check_target(target, source_column, modality);
  x.target := target;
  x.source_column := source_column;
  x.source_attnum := plan.source_attnum;
  x.key_index := plan.key_index;
  x.modality := plan.holds;
  x.source := source;
  x.storage := storage;
  x.index := index;
  x.on_change := on_change;
  x.backfill := case when attach.backfill and sidecar.has_rows(target) then 'missing' else 'done' end;
  x.embedding_column := coalesce(embedding, source_column || '_embedding');
  x.model := coalesce(attach.model, (select name from sidecar.model where serving));

  select * into known
  from sidecar.attachment a
  where a.target = attach.target and a.source_attnum = x.source_attnum;
  if found then
    if (known.modality, known.source, known.storage, known.index, known.on_change)
        is distinct from (x.modality, x.source, x.storage, x.index, x.on_change)
      or embedding is not null and embedding <> sidecar.column_name(target, known.embedding_attnum)
      or attach.model is not null and attach.model <> known.model
    then
      raise exception '% of % is attached already, with other options', quote_ident(source_column), target
        using errcode = 'object_not_in_prerequisite_state',
          hint = format(
            'SELECT sidecar.detach(%L, %L) keeps its vectors; then attach it again.', target, source_column
          );
    end if;
    return known.id;
  end if;

  x.embedding_attnum := sidecar.add_embedding_column(target, x.embedding_column, sidecar.model_width(x.model));
  insert into sidecar.attachment (
    target, source_column, source_attnum, embedding_column, embedding_attnum, key_index,
    modality, source, storage, index, on_change, model, backfill
  )
  values (
    x.target, x.source_column, x.source_attnum, x.embedding_column, x.embedding_attnum, x.key_index,
    x.modality, x.source, x.storage, x.index, x.on_change, x.model, x.backfill
  )
  returning id into x.id;
  perform sidecar.install_trigger_functions(x.id);
  perform sidecar.install_triggers(x.id);
  perform sidecar.grant_to_worker(x.id);
  if x.index = 'hnsw' and not sidecar.has_rows(target) then
    execute sidecar.index_statement(x.id, online => false);
  end if;
  perform pg_notify('sidecar', '');
  return x.id;
end
$$;
