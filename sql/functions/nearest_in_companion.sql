-- SQL text of sidecar.nearest where the vectors are in a companion table: $1 the question, $2 how many, $3 a key that is left
-- out. Source rows are read after the search; of a partition, whether the row is there is asked before.
create or replace function sidecar.nearest_in_companion(
  attachment sidecar.attachment,
  relation regclass,
  vectors text,
  except_one boolean
)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    'with found as materialized (
      select %1$s, e.%2$I operator(%3$s.<=>) $1 as distance
      from %4$s e
      where true %5$s %6$s
      order by e.%2$I operator(%3$s.<=>) $1
      limit $2
    )
    select t, f.distance
    from found f
    join %7$s t on %8$s
    order by f.distance',
    (select string_agg(format('e.%I', k.name), ', ' order by k.place) from sidecar.companion_keys(attachment.id) k),
    sidecar.column_name(attachment.embedding_table, attachment.embedding_attnum),
    vectors,
    attachment.embedding_table,
    case when except_one then (
      select format(
        'and not (%s)',
        string_agg(format('e.%I %s ($3 ->> %s)::%s', k.name, k.equals, k.place - 1, k.type), ' and ' order by k.place)
      )
      from sidecar.companion_keys(attachment.id) k
    ) end,
    case when relation <> attachment.target then
      format('and exists (select from %s t where %s)', relation, sidecar.companion_join(attachment.id, 'e', 't'))
    end,
    case when relation = attachment.target then sidecar.target_table(attachment.id) else relation::text end,
    sidecar.companion_join(attachment.id, 'f', 't')
  )
$$;
