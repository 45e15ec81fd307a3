-- Where pgvector and dblink live differs between clouds. Signatures of functions and columns of tables, made next, find their
-- types through this path; what is installed after them does not need it, and gets the narrow one again.
select set_config(
  'search_path',
  (
    select string_agg(distinct_schema, ', ' order by position)
    from (
      select quote_ident(nspname) as distinct_schema, min(position) as position
      from (
        select 'pg_catalog'::name as nspname, 0 as position
        union all
        select n.nspname, 1
        from pg_extension e
        join pg_namespace n on n.oid = e.extnamespace
        where e.extname in ('vector', 'dblink')
        union all
        select 'pg_temp'::name, 2
      ) as schemas
      group by nspname
    ) as path
  ),
  true
)
