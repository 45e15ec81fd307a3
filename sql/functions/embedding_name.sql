-- What an attachment's vector column is called: the column of the table, or of the view with storage => 'table'.
create or replace function sidecar.embedding_name(attachment sidecar.attachment)
returns name
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case attachment.storage
    when 'table' then attachment.embedding_column
    else sidecar.column_name(attachment.target, attachment.embedding_attnum)
  end
$$;
