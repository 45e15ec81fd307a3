-- SQL text of a condition that is true while the table of an attachment, its columns and its key are named as now, of the same types, and an
-- error otherwise; without it a table that is swapped by two renames would be read and written under the other's name until
-- the sidecar looks again. Looked at once a statement.
create or replace function sidecar.same_names(attachment integer)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    '(
      select case when exists (
        select
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisprimary
        where c.oid = %s
          and c.relname = %L
          and n.nspname = %L
          and i.indkey::text = %L
          and (
            select count(*)
            from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and (a.attnum, a.attname::text, a.atttypid) in (%s)
          ) = %s
      ) then true else sidecar.renamed(%s) end
    )',
    c.oid, c.relname, n.nspname, i.indkey, columns.pairs, columns.count, x.id
  )
  from sidecar.attachment known
  cross join lateral sidecar.located(known) x
  join pg_class c on c.oid = x.target
  join pg_namespace n on n.oid = c.relnamespace
  join pg_index i on i.indrelid = c.oid and i.indisprimary
  cross join lateral (
    select string_agg(format('(%s, %L, %s)', a.attnum, a.attname, a.atttypid), ', ') as pairs, count(*) as count
    from pg_attribute a
    where a.attrelid = x.target
      and a.attnum = any (x.key_attnums || x.source_attnum || case x.storage when 'column' then x.embedding_attnum end)
      and not a.attisdropped
  ) as columns
  where x.id = same_names.attachment
$$;
