-- What is with the vector of one row: current, pending, leased, failed or skipped, and why.
create or replace function sidecar.explain(target regclass, source_column name, key jsonb)
returns table (state text, why text)
language plpgsql
stable
rows 1
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.find_attachment(target, source_column);
  source name := sidecar.column_name(x.target, x.source_attnum);
  call text := format('(%L, %L)', x.target, source);
  failed record;
  queued record;
  here record;
begin
  if exists (select from sidecar.attachment_fault(x)) then
    return query select 'skipped', f.finding || ': ' || f.mend from sidecar.attachment_fault(x) f;
    return;
  end if;
  perform sidecar.check_key(x, key);
  execute format(
    'select t.%I is not null as source, %s is not null as embedding from %s t where %s',
    source, sidecar.embedding_expression(x, 't'), x.target, sidecar.key_match(x.id, 't', '$1')
  )
  into here
  using key;
  if here.source is null then
    return query select 'skipped', format('%s has no row with this key (or you may not see it)', x.target);
    return;
  end if;

  if row_security_active(x.target) and exists (
    select from sidecar.queue q where q.attachment = x.id
    union all
    select from sidecar.failures f where f.attachment = x.id
  ) then
    return query select
      'pending',
      'it may be: rows of the table are pending or failed, and row-level security hides from you which';
    return;
  end if;
  select * into queued from sidecar.queue q where q.attachment = x.id and q.key = explain.key;
  if found then
    if queued.leased_until > clock_timestamp() then
      return query select
        'leased',
        format(
          'a sidecar works on it, until %s at the latest; attempt %s',
          queued.leased_until::timestamptz(0), queued.attempts
        );
      return;
    end if;
    return query select
      'pending',
      case
        when x.paused then format('the attachment is paused: SELECT sidecar.resume%s;', call)
        when not exists (select from sidecar.workers w where w.model = coalesce(x.model, w.model))
          then 'no sidecar is running: start one with sidecar run'
        when queued.due_at > clock_timestamp()
          then format('it is tried again at %s, after %s attempts', queued.due_at::timestamptz(0), queued.attempts)
        else format('it waits its turn in the lane %s, since %s', queued.lane, queued.queued_at::timestamptz(0))
      end;
    return;
  end if;
  select * into failed from sidecar.failures f where f.attachment = x.id and f.key = explain.key;
  if found then
    return query select
      'failed',
      format('%s: %s Try again: SELECT sidecar.retry%s;', failed.error, failed.message, call);
  elsif x.backfill = 'all' or (here.source and not here.embedding and x.backfill = 'missing') then
    return query select 'pending', 'the backfill has yet to come by';
  elsif not here.source then
    return query select 'skipped', format('%s is NULL, and so is the vector', quote_ident(source));
  elsif here.embedding then
    return query select 'current', 'the vector is that of the present content';
  else
    return query select
      'skipped',
      format(
        case
          when x.swept then
            'it was written where no trigger saw it, or its vector was set to NULL: the next sweep queues it. '
              'All rows at once: SELECT sidecar.reembed%s;'
          else 'it was there before attach, which was told to leave such rows alone: SELECT sidecar.reembed%s;'
        end,
        call
      );
  end if;
end
$$;
