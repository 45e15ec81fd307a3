-- SQL text of an attachment's table. ONLY for a plain table: children of table inheritance have keys of their own.
create or replace function sidecar.target_table(attachment integer)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format('%s%I.%I', case c.relkind when 'p' then '' else 'only ' end, n.nspname, c.relname)
  from sidecar.attachment x
  join pg_class c on c.oid = x.target
  join pg_namespace n on n.oid = c.relnamespace
  where x.id = target_table.attachment
$$;
