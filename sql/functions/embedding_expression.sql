-- SQL text of a source row's vector, wherever it is stored: t.photo_embedding, or a look into the companion table.
create or replace function sidecar.embedding_expression(attachment sidecar.attachment, alias text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case attachment.storage
    when 'table' then format(
      '(select e.%I from %s e where %s)',
      sidecar.column_name(attachment.embedding_table, attachment.embedding_attnum),
      attachment.embedding_table,
      sidecar.companion_join(attachment.id, 'e', alias)
    )
    else format('%s.%I', alias, sidecar.column_name(attachment.target, attachment.embedding_attnum))
  end
$$;
