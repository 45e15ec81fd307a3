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
  key_order text;
  after text;
begin
  select * into strict x from sidecar.attachment a where a.id = statements.attachment;
  source := sidecar.column_name(x.target, x.source_attnum);
  embedding := sidecar.column_name(x.target, x.embedding_attnum);
  -- A table that has lost one of them is left alone until it has it again.
  if target is null or source is null or embedding is null or matched is null then
    return;
  end if;
  with column_of_key as (
    select
      k.place,
      k.operators,
      format('t.%I', k.name) as name,
      sidecar.key_value('$1', k.place, k.type) as value
    from sidecar.key_columns(x.id) k
  )
  select
    string_agg(c.name, ', ' order by c.place),
    case
      when count(distinct c.operators) = 1 then format(
        '(%s) operator(%I.>) (%s)',
        string_agg(c.name, ', ' order by c.place),
        min(c.operators::text),
        string_agg(c.value, ', ' order by c.place)
      )
      -- One operator compares whole rows, and here the types have several: column by column.
      else string_agg(
        (
          select string_agg(
            format('%s operator(%I.%s) %s', o.name, o.operators, case when o.place = c.place then '>' else '=' end, o.value),
            ' and '
            order by o.place
          )
          from column_of_key o
          where o.place <= c.place
        ),
        ' or '
        order by c.place
      )
    end
  into key_order, after
  from column_of_key c;

  sizes := format(
    'select k.position, octet_length(t.%1$I)
    from unnest($1::jsonb[]) with ordinality as k (key, position)
    join %2$s t on %3$s',
    source, target, matched
  );
  load := format(
    'select k.position, %1$s
    from unnest($1::jsonb[]) with ordinality as k (key, position)
    join %2$s t on %3$s',
    case x.modality when 'text' then format('left(t.%I::text, 100000)', source) else format('t.%I', source) end,
    target, matched
  );
  -- Source rows first, in key order, so that two sidecars cannot deadlock, and never waiting for the application.
  -- Then the queue rows that still are the ones that were claimed, then the vectors of exactly those.
  -- The table's own triggers find what they name by the path of the sidecar's role, as in any other session.
  write := format(
    'with path as materialized (
      select set_config(''search_path'', current_setting(''sidecar.search_path'', true), true)
    ),
    locked as materialized (
      select k.*
      from path
      cross join unnest($1::jsonb[], $2::bigint[], $3::bigint[], $4::%5$s.vector[])
        with ordinality as k (key, token, generation, vector, position)
      join %1$s t on %2$s
      order by %3$s
      for no key update of t skip locked
    ),
    done as (
      delete from sidecar.pending p
      using locked k
      where p.attachment = %6$s
        and p.key = k.key
        and p.lease_token = k.token
        and p.generation = k.generation
      returning k.position, k.key, k.vector
    ),
    mended as (
      delete from sidecar.failure f
      using done k
      where f.attachment = %6$s
        and f.key = k.key
        and exists (select from sidecar.failure o where o.attachment = %6$s)
    ),
    written as (
      update %1$s t
      set %4$I = k.vector
      from done k
      where %2$s
    )
    select position from done',
    target, matched, key_order, embedding,
    (select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'),
    x.id
  );
  -- $1: the last key that was queued, or NULL; $2: how many rows to look at. Two branches, of which one is never
  -- executed: `$1 is null or key > $1` in one condition reads the index from its start for every slice.
  feed := format(
    'with slice as materialized (
      (
        select %1$s as key, %2$s as wanted, row_number() over (order by %3$s) as position
        from %4$s t
        where $1::jsonb is null
        order by %3$s
        limit $2
      )
      union all
      (
        select %1$s, %2$s, row_number() over (order by %3$s)
        from %4$s t
        where $1::jsonb is not null and (%5$s)
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
    case x.backfill when 'all' then 'update set generation = pending.generation + 1' else 'nothing' end
  );
  return next;
end
$$;
