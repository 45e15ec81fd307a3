-- The view of storage => 'table' made anew with the columns that the table has now, and the rights of both the view and the
-- companion table taken from the table again. Returns the view.
create or replace function sidecar.renew_view(target regclass, source_column name default null)
returns regclass
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.find_attachment(target, source_column);
begin
  if x.storage <> 'table' then
    raise exception 'the vectors of %.% are a column of the table itself', x.target, quote_ident(x.source_column)
      using errcode = 'object_not_in_prerequisite_state',
        hint = 'There is a view only with storage => ''table''.';
  end if;
  perform sidecar.make_worker_views(x.id);
  perform sidecar.grant_to_worker(x.id);
  return sidecar.make_view(x.id);
end
$$;
