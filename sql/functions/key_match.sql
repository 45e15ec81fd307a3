-- SQL text that finds the row of a key: t.id operator(pg_catalog.=) (key ->> 0)::bigint and ....
-- Operators carry their schema: types of an extension bring their own, and anybody can make others with the same name.
create or replace function sidecar.key_match(attachment integer, alias text, key text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select string_agg(
    format(
      '%s.%I operator(%I.=) %s',
      alias, name, operators, sidecar.key_value(key_match.key, place, type)
    ),
    ' and '
    order by place
  )
  from sidecar.key_columns(key_match.attachment)
$$;
