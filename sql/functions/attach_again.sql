-- SQL text that attaches with the options of an attachment: `target` and `source` are where its column is now.
create or replace function sidecar.attach_again(x sidecar.attachment, target regclass, source name)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    'SELECT sidecar.attach(%L, %L, embedding => %L%s%s%s%s);',
    target,
    source,
    coalesce(sidecar.embedding_name(x), x.embedding_column),
    case x.source when 'inline' then '' else format(', modality => %L, source => %L', x.modality, x.source) end,
    case x.storage when 'column' then '' else format(', storage => %L', x.storage) end,
    case x.index when 'hnsw' then '' else format(', index => %L', x.index) end,
    case x.on_change when 'keep' then '' else format(', on_change => %L', x.on_change) end
  )
$$;
