-- SQL text that finds the row of a key: t.id = (key ->> 0)::bigint and t.day = (key ->> 1)::date.
-- Types of an extension bring their own operators, which the caller's search_path may not name.
create or replace function sidecar.key_match(attachment integer, alias text, key text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select string_agg(
    format(
      '%s.%I %s (%s ->> %s)::%s',
      alias, name,
      case operators when 'pg_catalog' then '=' else format('operator(%I.=)', operators) end,
      key_match.key, place - 1, type
    ),
    ' and '
    order by place
  )
  from sidecar.key_columns(key_match.attachment)
$$;
