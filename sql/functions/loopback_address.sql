-- The libpq connection string of the loopback: what the foreign server and the user mapping say, and for the rest where
-- this server listens now, so that a copied database or a moved server finds itself. TCP first: a role with a
-- password may enter there more often than through a socket. Written for any standard_conforming_strings, like all
-- that runs in a caller's session.
create or replace function sidecar.loopback_address()
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with listening as (
    select array_to_string(
      array[
        case when current_setting('listen_addresses') ~ '[*]|localhost|0[.]0[.]0[.]0|127[.]0[.]0[.]1|::' then 'localhost' end,
        (
          select directory
          from pg_settings s, unnest(string_to_array(s.setting, ',')) with ordinality as d (raw, position),
            trim(both ' "' from raw) as directory
          where s.name = 'unix_socket_directories' and directory ~ '^[/@]'
          order by position
          limit 1
        )
      ],
      ','
    ) as hosts
  ),
  options as (
    select o.option_name as name, o.option_value as value, 1 as rank
    from pg_user_mappings u, pg_options_to_table(u.umoptions) o
    where u.srvname = 'sidecar_loopback' and u.usename = current_user
    union all
    select o.option_name, o.option_value, 2
    from pg_foreign_server s, pg_options_to_table(s.srvoptions) o
    where s.srvname = 'sidecar_loopback'
    union all
    select d.name, d.value, 3
    from listening l,
      lateral (
        values
          ('host', coalesce(nullif(l.hosts, ''), 'localhost')),
          ('port', current_setting('port')),
          ('dbname', current_database()),
          ('connect_timeout', '5'),
          ('application_name', 'sidecar loopback')
      ) as d (name, value)
  )
  select string_agg(
    format('%s=''%s''', name, replace(replace(value, e'\\', e'\\\\'), '''', e'\\''')),
    ' '
    order by name
  )
  from (select distinct on (name) name, value from options order by name, rank) as chosen
  where name <> 'use_scram_passthrough'
$$;
