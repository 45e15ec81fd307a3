-- SQL text that builds the key of a row: jsonb_build_array(n.id, n.day::text). Trigger functions run it with the rights of
-- the schema's owner. So a type that somebody made is written by its output function: its owner could make a cast to text.
create or replace function sidecar.key_expression(attachment integer, alias text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    'pg_catalog.jsonb_build_array(%s)',
    string_agg(
      format(
        case
          when native then '%s.%I'
          when exists (
            select from pg_type t where t.oid = type::regtype and t.typnamespace = 'pg_catalog'::regnamespace
          ) then '%s.%I::pg_catalog.text'
          else 'pg_catalog.format(''%%s'', %s.%I)'
        end,
        alias, name
      ),
      ', '
      order by place
    )
  )
  from sidecar.key_columns(key_expression.attachment)
$$;
