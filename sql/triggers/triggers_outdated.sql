-- Whether a BEFORE trigger came to the table after ours: they look only at updates that name the column, and miss its changes.
create or replace function sidecar.triggers_outdated(attachment integer)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from sidecar.attachment x
    join pg_trigger t on t.tgrelid = x.target and t.tgname = format('sidecar_%s_update', x.id)
    where x.id = triggers_outdated.attachment
      and cardinality(t.tgattr::smallint[]) > 0
      and sidecar.before_triggers(x.target)
  )
$$;
