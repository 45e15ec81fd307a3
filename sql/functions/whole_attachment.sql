-- The attachment that pause, detach and their like are about: never that of a partitioned table when a partition is named.
create or replace function sidecar.whole_attachment(target regclass, source_column name)
returns sidecar.attachment
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.find_attachment(target, source_column);
begin
  if x.target <> target then
    raise exception '% is a partition of %, which is attached as a whole', target, x.target
      using errcode = 'wrong_object_type',
        hint = format('Name the partitioned table: %L.', x.target);
  end if;
  return x;
end
$$;
