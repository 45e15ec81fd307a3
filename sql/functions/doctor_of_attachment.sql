-- What keeps the vectors of one attachment from being in step.
create or replace function sidecar.doctor_of_attachment(x sidecar.attachment)
returns table (severity text, finding text, mend text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  tracked name := sidecar.column_name(x.target, x.source_attnum);
  fault record;
  replacement regclass := sidecar.replacement_of(x);
  label text := format('%s.%I', x.target, coalesce(tracked, x.source_column));
  call text := format('(%L, %L)', x.target, tracked);
begin
  if replacement is not null then
    return query select
      'error',
      format(
        'changes of %s are not noticed: it is another table than the one that was attached under this name%s',
        replacement, case when tracked is null then '' else format(', which is %s now', x.target) end
      ),
      sidecar.attach_again(x, replacement, x.source_column);
  end if;
  select * into fault from sidecar.attachment_fault(x);
  if found then
    return query select case fault.kind when 'lost' then 'warning' else 'error' end, fault.finding, fault.mend;
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
      where t.tgrelid = x.target and t.tgname ~ format('^(zzz_)?sidecar_%s_%s$', x.id, k.kind)
    )
  )
  union all
  select
    'warning',
    format('changes of %s by a BEFORE trigger are not noticed: it came after sidecar.attach', label),
    format('SELECT sidecar.install_triggers(%s);', x.id)
  where sidecar.triggers_outdated(x.id)
  union all
  select
    'warning',
    format('%s is embedded twice: %s became a partition of %s, which is attached too', label, x.target, p.relid),
    format('SELECT sidecar.detach(%L, %L);', x.target, tracked)
  from pg_partition_ancestors(x.target) p
  join sidecar.attachment o on o.target = p.relid and p.relid <> x.target
  where sidecar.column_name(o.target, o.source_attnum) = sidecar.column_name(x.target, x.source_attnum)
  union all
  select
    'error',
    format(
      'changes of %s.%I are not noticed: the trigger %I is disabled; rows without a vector are found later, and where contents'
        ' were changed meanwhile SELECT sidecar.reembed%s; is needed',
      t.tgrelid::regclass, tracked, t.tgname, call
    ),
    format('ALTER TABLE %s ENABLE TRIGGER %I;', t.tgrelid::regclass, t.tgname)
  from pg_trigger t
  where t.tgrelid in (select x.target union select p.relid from pg_partition_tree(x.target) p)
    and t.tgname ~ format('^(zzz_)?sidecar_%s_', x.id)
    and t.tgenabled in ('D', 'R');

  return query select * from sidecar.doctor_of_rights(x);
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
    format('%s rows of %s failed with %s: sidecar.failures says why', count(*), label, f.error),
    format('SELECT sidecar.retry(%L, %L, error => %L);', x.target, tracked, f.error)
  from sidecar.failures f
  where f.attachment = x.id
  group by f.error
  union all
  select
    case when x.paused then 'note' else 'warning' end,
    format(
      '%s rows of %s wait for more than 5 minutes%s',
      count(*), label,
      case
        when x.paused then ': it is paused'
        when exists (select from sidecar.workers) then ': the sidecars are behind, so start more of them'
        else ''
      end
    ),
    case when x.paused then format('SELECT sidecar.resume%s;', call) else 'sidecar run' end
  from sidecar.queue q
  where q.attachment = x.id and q.queued_at < clock_timestamp() - interval '5 minutes'
  having count(*) > 0;
end
$$;
