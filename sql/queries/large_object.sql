-- $1 oid, $2 most bytes: its content
select pg_catalog.lo_get($1, 0, $2)
