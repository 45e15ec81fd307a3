-- The statements by which a sidecar writes and feeds an attachment with storage => 'table', in the form of
-- sidecar.statements. They go through the two views of make_worker_views.
create or replace function sidecar.companion_statements(x sidecar.attachment)
returns table (write text, feed text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  source name := sidecar.column_name(x.target, x.source_attnum);
  rows text := sidecar.worker_view(x.id, 'rows');
  vectors text := sidecar.worker_view(x.id, 'vectors');
  keys text;
  locked_keys text;
  matched text;
  same_row text;
  stored text;
  key_order text;
begin
  if rows is null or vectors is null then
    return;
  end if;
  select
    string_agg(format('k%s', k.place), ', ' order by k.place),
    string_agg(format('t.k%s', k.place), ', ' order by k.place),
    string_agg(format('t.k%s %s %s', k.place, k.equals, sidecar.key_value('k.key', k.place, k.type)), ' and ' order by k.place),
    string_agg(format('e.k%1$s %2$s k.k%1$s', k.place, k.equals), ' and ' order by k.place),
    string_agg(format('e.k%s %s t.%I', k.place, k.equals, k.source_name), ' and ' order by k.place),
    string_agg(format('t.%I', k.source_name), ', ' order by k.place)
  into keys, locked_keys, matched, same_row, stored, key_order
  from sidecar.companion_keys(x.id) k;

  -- The source rows first, in key order, with the lock of a foreign key's check: of the application's statements only a
  -- DELETE and a change of the key exclude it. Then vectors that are there, then the queue rows that still are the ones that
  -- were claimed. Nothing here waits for a row, so no order in which the application takes the same three can deadlock.
  -- The vectors stay in their array until the end, as in sidecar.statements. Subqueries with one value instead of EXISTS, which may be planned as a hash of the whole companion table.
  write := format(
    'with locked as materialized (
      select k.position, k.key, k.token, k.generation, %1$s, t.content_hash
      from unnest($1::jsonb[], $2::bigint[], $3::bigint[])
        with ordinality as k (key, token, generation, position)
      join %3$s t on %4$s
      order by %1$s
      for key share of t skip locked
    ),
    held as materialized (
      select k.position
      from locked k
      join %5$s e on %6$s
      for update of e skip locked
    ),
    mine as materialized (
      select k.*
      from locked k
      join sidecar.pending p
        on p.attachment = %7$s
        and p.key = k.key
        and p.lease_token = k.token
        and p.generation = k.generation
      where (select true from %5$s e where %6$s) is null
        or k.position in (select h.position from held h)
      for update of p skip locked
    ),
    done as (
      delete from sidecar.pending p
      using mine k
      where p.attachment = %7$s
        and p.key = k.key
      returning k.*
    ),
    mended as (
      delete from sidecar.failure f
      using done k
      where f.attachment = %7$s
        and f.key = k.key
        and exists (select from sidecar.failure o where o.attachment = %7$s)
    ),
    emptied as (
      delete from %5$s e
      using done k
      where ($4::%2$s.vector[])[k.position] is null
        and %6$s
    ),
    written as (
      insert into %5$s (%8$s, embedding, model, content_hash, embedded_at)
      select %8$s, ($4::%2$s.vector[])[position], %9$L, content_hash, now()
      from done
      where ($4::%2$s.vector[])[position] is not null
      on conflict (%8$s) do update
      set embedding = excluded.embedding,
        model = excluded.model,
        content_hash = excluded.content_hash,
        embedded_at = excluded.embedded_at
    )
    select position from done',
    locked_keys,
    (select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'),
    rows, matched, vectors, same_row, x.id, keys, x.model
  );
  -- As in sidecar.statements. A vector that is there counts by its model and its content hash, so that after a detach only
  -- what changed in between is made anew.
  feed := format(
    'with slice as materialized (
      (
        select %1$s as key, %2$s as wanted, row_number() over (order by %3$s) as position
        from %4$s t
        where $1::jsonb is null and %8$s
        order by %3$s
        limit $2
      )
      union all
      (
        select %1$s, %2$s, row_number() over (order by %3$s)
        from %4$s t
        where $1::jsonb is not null and %8$s and (%5$s)
        order by %3$s
        limit $2
      )
    ),
    queued as (
      insert into sidecar.pending (attachment, key, lane)
      select %6$s, key, 3 from slice where wanted
      on conflict (attachment, key) do %7$s
      returning 1
    )
    select
      (select count(*) from slice) as seen,
      (select count(*) from queued) as queued,
      (select key::text from slice order by position desc limit 1) as last_key',
    sidecar.key_expression(x.id, 't'),
    format(
      case x.backfill
        when 'all' then '(t.%1$I is not null or (select true from %2$s e where %3$s))'
        else 'case
          when t.%1$I is null then (select true from %2$s e where %3$s)
          else (select e.model = %4$L and e.content_hash = %5$s from %2$s e where %3$s) is not true
        end'
      end,
      source, vectors, stored, x.model, sidecar.content_hash(x.modality, format('t.%I', source))
    ),
    key_order, sidecar.target_table(x.id), sidecar.key_after(x.id, 't', '$1'), x.id,
    case x.backfill when 'all' then 'update set generation = pending.generation + 1' else 'nothing' end,
    sidecar.same_names(x.id)
  );
  return next;
end
$$;
