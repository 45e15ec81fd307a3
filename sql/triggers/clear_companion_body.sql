-- Body of the trigger function that takes a changed row's vector out of the companion table at once. An AFTER trigger: what
-- a BEFORE trigger of the table suppresses keeps its vector.
create or replace function sidecar.clear_companion_body(attachment integer, same_names text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case when sidecar.worker_view(attachment, 'vectors') is null then 'begin return null; end' else format($text$
declare
  r record;
begin
  if tg_op = 'DELETE' then
    r := old;
  else
    r := new;
  end if;
  if %1$s and to_regclass(%2$L) = %3$s::oid then
    delete from %2$s e where %4$s;
  elsif sidecar.worker_view(%5$s, 'vectors') is not null then
    execute format(
      'delete from %%s e where %%s', sidecar.worker_view(%5$s, 'vectors'), sidecar.clear_match(%5$s, '($1)')
    )
    using r;
  end if;
  return null;
end
$text$,
    same_names,
    sidecar.worker_view(attachment, 'vectors'),
    to_regclass(sidecar.worker_view(attachment, 'vectors'))::oid,
    sidecar.clear_match(attachment, 'r'),
    attachment
  ) end
$$;
