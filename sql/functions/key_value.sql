-- SQL text that takes one value out of a key: (key ->> 0)::bigint. The owner of a type can make a cast from text, a function
-- that would run with the rights of whoever looks a row up; so of such a type the input function is used.
create or replace function sidecar.key_value(key text, place integer, type text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when exists (
      select
      from pg_cast c
      join pg_type t on t.oid = c.casttarget
      where c.castsource = 'text'::regtype
        and c.casttarget = key_value.type::regtype
        and c.castfunc <> 0
        and t.typnamespace <> 'pg_catalog'::regnamespace
    )
    then format(
      '(select r.value from pg_catalog.jsonb_to_record(pg_catalog.jsonb_build_object(''value'', %s -> %s)) as r (value %s))',
      key, place - 1, type
    )
    else format('(%s ->> %s)::%s', key, place - 1, type)
  end
$$;
