-- The two statements of a sweep over one attached table, each over one slice in the order of a key. $1: the last key that was
-- looked at, or NULL; $2: how many to look at. Both say how many they saw and mended, and where they came to.
-- `failures` forgets failures that stand for nothing any more: the row is gone, or has neither content nor vector.
-- `rows` queues what no trigger saw: rows with content and no vector that are neither pending nor given up on, and rows with
-- a vector and no content. One snapshot shows all three tables, and a row leaves the queue in the transaction that writes
-- its vector or its failure, so nothing that is on its way is queued again. `limit 1` keeps these lookups what they are: as a
-- join, the whole queue would be read for each row.
create or replace function sidecar.sweep_statements(attachment integer)
returns table (failures text, rows text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  target text := sidecar.target_table(sweep_statements.attachment);
  key text := sidecar.key_expression(sweep_statements.attachment, 't');
  source name;
  has_vector text;
  filled text;
  missing text;
  left_over text;
  key_order text;
begin
  select l.* into strict x
  from sidecar.attachment a
  cross join lateral sidecar.located(a) l
  where a.id = sweep_statements.attachment;
  source := sidecar.column_name(x.target, x.source_attnum);
  if target is null or key is null or exists (select from sidecar.attachment_fault(x)) then
    return;
  end if;
  has_vector := sidecar.has_vector(x, 't');
  if has_vector is null then
    return;
  end if;
  filled := format('(t.%I is not null or %s)', source, has_vector);
  -- A changed content whose vector is there looks like any other: only its hash could tell, and to compare hashes is to read
  -- every picture.
  missing := case when x.swept then format('(t.%I is not null and not (%s))', source, has_vector) else 'false' end;
  left_over := format('(t.%I is null and %s)', source, has_vector);
  select string_agg(format('t.%I', k.name), ', ' order by k.place)
  into key_order
  from sidecar.key_columns(x.id) k;

  failures := format(
    'with slice as materialized (
      select f.key
      from sidecar.failure f
      where f.attachment = %1$s
        and f.key > coalesce($1::jsonb, ''null''::jsonb)
      order by f.key
      limit $2
    ),
    moot as (
      delete from sidecar.failure f
      using slice s
      where f.attachment = %1$s
        and f.key = s.key
        and %5$s
        and not exists (select from %2$s t where %3$s and %4$s)
      returning 1
    )
    select
      (select count(*) from slice) as seen,
      (select count(*) from moot) as found,
      (select s.key::text from slice s order by s.key desc limit 1) as last_key',
    x.id, target, sidecar.key_match(x.id, 't', 's.key'), filled,
    sidecar.same_names(x.id)
  );
  rows := format(
    'with slice as materialized (
      (
        select %1$s as key, %2$s as missing, %3$s as left_over, row_number() over (order by %4$s) as position
        from %5$s t
        where $1::jsonb is null and %8$s
        order by %4$s
        limit $2
      )
      union all
      (
        select %1$s, %2$s, %3$s, row_number() over (order by %4$s)
        from %5$s t
        where $1::jsonb is not null and %8$s and (%6$s)
        order by %4$s
        limit $2
      )
    ),
    queued as (
      insert into sidecar.pending (attachment, key, lane)
      select %7$s, s.key, 3
      from slice s
      where (s.missing or s.left_over)
        and (select true from sidecar.pending p where p.attachment = %7$s and p.key = s.key limit 1) is null
        and (
          s.left_over
          or (select true from sidecar.failure f where f.attachment = %7$s and f.key = s.key limit 1) is null
        )
      order by s.position
      on conflict (attachment, key) do nothing
      returning 1
    )
    select
      (select count(*) from slice) as seen,
      (select count(*) from queued) as found,
      (select key::text from slice order by position desc limit 1) as last_key',
    key, missing, left_over, key_order, target, sidecar.key_after(x.id, 't', '$1'), x.id, sidecar.same_names(x.id)
  );
  return next;
end
$$;
