-- Whoever migrates has many rights, and others may have made functions and operators in the schemas of its search_path, with
-- names as used here. So only PostgreSQL's own are found. Where extensions go by default is kept aside. Ends with the transaction.
select
  pg_catalog.set_config('sidecar.search_path', pg_catalog.current_setting('search_path'), true),
  pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)
