-- SQL text of whether a source row has a vector, wherever it is stored, as a sidecar may ask it.
create or replace function sidecar.has_vector(x sidecar.attachment, alias text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case x.storage
    when 'column' then format('%s.%I is not null', alias, sidecar.column_name(x.target, x.embedding_attnum))
    else (
      -- One value instead of EXISTS, which may be planned as a hash of the whole companion table.
      select format(
        '(select true from %s e where %s) is true',
        sidecar.worker_view(x.id, 'vectors'),
        string_agg(format('e.k%s %s %s.%I', k.place, k.equals, alias, k.source_name), ' and ' order by k.place)
      )
      from sidecar.companion_keys(x.id) k
    )
  end
$$;
