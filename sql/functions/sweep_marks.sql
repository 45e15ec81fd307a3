-- What tells that rows may have changed unseen. `triggers`: a fingerprint of the attachment's triggers on the table and its
-- partitions; xmin is in it, so that triggers that were disabled and enabled again between two looks show. `writes`:
-- rows inserted, updated and deleted as PostgreSQL counts them, whoever wrote them; NULL where it does not count.
create or replace function sidecar.sweep_marks(attachment integer, target regclass)
returns table (triggers text, writes bigint)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with part as materialized (
    select p.relid
    from pg_partition_tree(sweep_marks.target) p
    union
    select sweep_marks.target
  )
  select
    (
      select md5(string_agg(concat_ws(' ', t.tgrelid, t.tgname, t.tgenabled, t.xmin), ',' order by t.tgrelid, t.tgname))
      from part p
      join pg_trigger t on t.tgrelid = p.relid
      where t.tgname ~ format('^(zzz_)?sidecar_%s_', sweep_marks.attachment)
    ),
    case
      when current_setting('track_counts')::boolean then (
        select sum(
          pg_stat_get_tuples_inserted(p.relid) + pg_stat_get_tuples_updated(p.relid) + pg_stat_get_tuples_deleted(p.relid)
        )::bigint
        from part p
      )
    end
$$;
