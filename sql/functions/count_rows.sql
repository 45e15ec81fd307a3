-- Rows of an attached table, and those with a vector, with the caller's rights: counted up to about a million rows,
-- beyond that estimated from the statistics of the last ANALYZE. Vectors in a companion table that the caller may not read
-- are not counted: NULL.
create or replace function sidecar.count_rows(
  target regclass,
  embedding_table regclass,
  embedding_attnum smallint,
  out rows bigint,
  out embedded bigint,
  out estimated boolean
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  embedding name := sidecar.column_name(embedding_table, embedding_attnum);
  apart constant boolean := embedding_table <> target;
  estimate double precision;
  missing double precision;
begin
  select sum(greatest(c.reltuples, 0))
  into estimate
  from (select target as relid union select p.relid from pg_partition_tree(target) p where p.isleaf) as t
  join pg_class c on c.oid = t.relid and c.relkind = 'r';
  if apart then
    estimated := estimate > 1000000;
    if estimated then
      rows := estimate;
      embedded := (select greatest(c.reltuples, 0) from pg_class c where c.oid = embedding_table);
    else
      execute format('select count(*) from %s', target) into rows;
      if has_table_privilege(embedding_table, 'select') then
        execute format('select count(*) from %s', embedding_table) into embedded;
      end if;
    end if;
    return;
  end if;
  if estimate > 1000000 then
    select s.null_frac
    into missing
    from pg_stats s
    join pg_class c on c.relname = s.tablename
    join pg_namespace n on n.oid = c.relnamespace and n.nspname = s.schemaname
    where c.oid = target and s.attname = embedding
    order by s.inherited desc
    limit 1;
  end if;
  estimated := missing is not null;
  if estimated then
    rows := estimate;
    embedded := estimate * (1 - missing);
  elsif embedding is not null then
    -- ONLY, as the sidecar works: tables that inherit from it are attached by themselves.
    execute format(
      'select count(*), count(%I) from %s%s',
      embedding, case (select c.relkind from pg_class c where c.oid = target) when 'p' then '' else 'only ' end, target
    )
    into rows, embedded;
  end if;
end
$$;
