-- What keeps the vectors of one attachment from being in step.
create or replace function sidecar.doctor_of_attachment(x sidecar.attachment)
returns table (severity text, finding text, mend text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  source name := sidecar.column_name(x.target, x.source_attnum);
  embedding name := sidecar.column_name(x.embedding_table, x.embedding_attnum);
  label text := format('%s.%I', x.target, coalesce(source, x.source_column));
  call text := format('(%L, %L)', x.target, source);
begin
  if not exists (select from pg_class c where c.oid = x.target) then
    return query select
      'warning',
      format('the table of attachment %s is gone', x.id),
      format('DELETE FROM sidecar.attachment WHERE id = %s;', x.id);
    return;
  end if;
  if source is null or embedding is null or not exists (
    select from pg_index i where i.indrelid = x.target and i.indisprimary
  ) then
    return query select
      'error',
      format(
        '%s has lost its %s',
        label,
        case when source is null then 'source column' when embedding is null then 'vector column' else 'primary key' end
      ),
      format('DELETE FROM sidecar.attachment WHERE id = %s; and attach it again', x.id);
    return;
  end if;

  return query
  select
    'error',
    format('changes of %s are not noticed: a trigger is missing', label),
    format('SELECT sidecar.install_triggers(%s);', x.id)
  where exists (
    select
    from unnest(
      array['insert', 'update', 'truncate', 'ring'] || case
        when x.on_change = 'clear' then array[case x.storage when 'table' then 'update_clear' else 'clear' end]
      end
    ) as k (kind)
    where not exists (
      select
      from pg_trigger t
      where t.tgrelid = x.target and t.tgname = format('sidecar_%s_%s', x.id, k.kind)
    )
  )
  union all
  select
    'error',
    format('changes of %s are not noticed: the trigger %I is disabled', label, t.tgname),
    format('ALTER TABLE %s ENABLE TRIGGER %I;', t.tgrelid::regclass, t.tgname)
  from pg_trigger t
  where t.tgrelid in (select x.target union select p.relid from pg_partition_tree(x.target) p)
    and t.tgname like format('sidecar\_%s\_%%', x.id)
    and t.tgenabled in ('D', 'R');

  return query select * from sidecar.doctor_of_index(x);
  return query select * from sidecar.doctor_of_companion(x);

  return query
  select
    'error',
    format('the vectors of %s are of %s, and questions are answered by %s', label, x.model, m.name),
    format('SELECT sidecar.reembed%s;', call)
  from sidecar.model m
  where m.serving and m.name <> x.model
  union all
  select
    'warning',
    format('%s rows of %s failed with %s', count(*), label, f.error),
    format(
      'SELECT * FROM sidecar.failures; when mended: SELECT sidecar.retry(%L, %L, error => %L);',
      x.target, source, f.error
    )
  from sidecar.failures f
  where f.attachment = x.id
  group by f.error
  union all
  select
    case when x.paused then 'note' else 'warning' end,
    format('%s rows of %s wait for more than 5 minutes', count(*), label),
    case
      when x.paused then format('SELECT sidecar.resume%s;', call)
      else 'SELECT * FROM sidecar.workers; shows how fast they are: start more, or wait'
    end
  from sidecar.queue q
  where q.attachment = x.id and q.queued_at < clock_timestamp() - interval '5 minutes'
  having count(*) > 0;
end
$$;
