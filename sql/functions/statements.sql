-- The statements that a sidecar runs on one attached table, written with its current names. The sidecar asks for
-- them again when one fails because a name changed. `key` is jsonb; results carry the position in the given array.
create or replace function sidecar.statements(attachment integer)
returns table (sizes text, load text, write text, feed text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  target text := sidecar.target_table(statements.attachment);
  source name;
  embedding name;
  matched text := sidecar.key_match(statements.attachment, 't', 'k.key');
  key text := sidecar.key_expression(statements.attachment, 't');
  same text := sidecar.same_names(statements.attachment);
  key_order text;
  after text;
begin
  select l.* into strict x
  from sidecar.attachment a
  cross join lateral sidecar.located(a) l
  where a.id = statements.attachment;
  source := sidecar.column_name(x.target, x.source_attnum);
  embedding := sidecar.column_name(x.embedding_table, x.embedding_attnum);
  -- A table that does not fit its attachment is left alone until it does; sidecar.doctor() says why.
  if target is null or matched is null or exists (select from sidecar.attachment_fault(x)) then
    return;
  end if;
  select string_agg(format('t.%I', k.name), ', ' order by k.place)
  into key_order
  from sidecar.key_columns(x.id) k;
  after := sidecar.key_after(x.id, 't', '$1');

  sizes := format(
    'select k.position, octet_length(t.%1$I)
    from unnest($1::jsonb[]) with ordinality as k (key, position)
    join %2$s t on %3$s
    where %4$s',
    source, target, matched, same
  );
  load := format(
    'select k.position, %1$s
    from unnest($1::jsonb[]) with ordinality as k (key, position)
    join %2$s t on %3$s
    where %4$s',
    case x.modality when 'text' then format('left(t.%I::text, 100000)', source) else format('t.%I', source) end,
    target, matched, same
  );
  if x.storage = 'table' then
    return query select statements.sizes, statements.load, c.write, c.feed from sidecar.companion_statements(x) c;
    return;
  end if;
  -- Source rows first, in key order, so that two sidecars cannot deadlock, with the queue rows that still are the ones
  -- that were claimed; it waits for neither, whoever holds them. Then the vectors of exactly those. The vectors stay in their
  -- array until the end (3 kB a row through a sort and two CTEs took as long as all the rest). Neither is found by
  -- ctid: a row that was updated between the snapshot and the lock is at another one, which this statement does not see.
  -- The table's own triggers find what they name by the path of the sidecar's role, as in any other session.
  write := format(
    'with path as materialized (
      select set_config(''search_path'', current_setting(''sidecar.search_path'', true), true)
    ),
    locked as materialized (
      select k.*
      from path
      cross join unnest($1::jsonb[], $2::bigint[], $3::bigint[])
        with ordinality as k (key, token, generation, position)
      join %1$s t on %2$s
      join sidecar.pending p
        on p.attachment = %6$s
        and p.key = k.key
        and p.lease_token = k.token
        and p.generation = k.generation
      where %8$s
      order by %3$s
      for no key update of t skip locked
      for update of p skip locked
    ),
    done as (
      delete from sidecar.pending p
      using locked k
      where p.attachment = %6$s
        and p.key = k.key
      returning k.position, k.key
    ),
    written as (
      update %1$s t
      set %4$I = ($4::%5$s.vector[])[k.position]
      from done k
      where %2$s
      returning k.position, k.key
    ),
    mended as (
      delete from sidecar.failure f
      using written k
      where f.attachment = %6$s
        and f.key = k.key
        and exists (select from sidecar.failure o where o.attachment = %6$s)
    ),
    -- A BEFORE trigger of the table can drop an update and say nothing.
    refused as (
      insert into sidecar.failure (attachment, key, error, message, attempts)
      select
        %6$s, k.key, ''write_refused'',
        ''A BEFORE UPDATE trigger of the table dropped the vector: let it pass updates of %7$s, then retry.'', 1
      from done k
      where (select count(*) from written) < (select count(*) from done)
        and k.position not in (select w.position from written w)
      on conflict (attachment, key) do update
      set error = excluded.error, message = excluded.message, attempts = excluded.attempts, failed_at = now()
    )
    select position from done',
    target, matched, key_order, embedding,
    (select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'),
    x.id,
    replace(quote_ident(embedding), '''', ''''''),
    same
  );
  -- $1: the last key that was queued, or NULL; $2: how many rows to look at. Two branches, of which one is never
  -- executed: `$1 is null or key > $1` in one condition reads the index from its start for every slice.
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
    key,
    case x.backfill
      when 'all' then format('(t.%I is not null or t.%I is not null)', source, embedding)
      else format('(t.%I is not null and t.%I is null)', source, embedding)
    end,
    key_order, target, after, x.id,
    -- All rows again: what another sidecar has in hand now may be a vector of the old model.
    case x.backfill when 'all' then 'update set generation = pending.generation + 1' else 'nothing' end,
    same
  );
  return next;
end
$$;
