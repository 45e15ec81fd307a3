-- SQL text of the condition that a row comes after a key, in the order of the primary key: (t.region, t.id) operator(pg_catalog.>)
-- (key ->> 0, ...), which an index serves.
create or replace function sidecar.key_after(attachment integer, alias text, key text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with column_of_key as (
    select
      k.place,
      k.operators,
      format('%s.%I', alias, k.name) as name,
      sidecar.key_value(key_after.key, k.place, k.type) as value
    from sidecar.key_columns(key_after.attachment) k
  )
  select case
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
  from column_of_key c
$$;
