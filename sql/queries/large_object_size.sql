-- $1 oid: its size in bytes; 262144 opens it to read, 2 goes to its end. It is closed with the statement.
select pg_catalog.lo_lseek64(pg_catalog.lo_open($1, 262144), 0, 2)
