-- Whether a trigger of the table itself, or of a partition, can change the source column when an UPDATE does not name it.
create or replace function sidecar.before_triggers(target regclass)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from pg_trigger t
    join pg_proc p on p.oid = t.tgfoid
    where t.tgrelid in (
        select before_triggers.target
        union
        select r.relid from pg_partition_tree(before_triggers.target) r
      )
      and not t.tgisinternal
      and t.tgtype & 19 = 19 -- 1 row, 2 before, 16 update
      and p.pronamespace <> 'sidecar'::regnamespace
  )
$$;
