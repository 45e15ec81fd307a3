-- SQL text that builds the key of a row: jsonb_build_array(n.id, n.day::text).
create or replace function sidecar.key_expression(attachment integer, alias text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    'pg_catalog.jsonb_build_array(%s)',
    string_agg(
      format('%s.%I%s', alias, name, case when native then '' else '::pg_catalog.text' end),
      ', '
      order by place
    )
  )
  from sidecar.key_columns(key_expression.attachment)
$$;
