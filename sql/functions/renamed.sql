-- What a sidecar's statement says when its names stand for other things by now: a name that is gone fails by itself, one that
-- another table or column took over would not. The sidecar reads the names again, and the rows come soon after.
create or replace function sidecar.renamed(attachment integer)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'the table of attachment %, its columns or its primary key were renamed or replaced', attachment
    using errcode = 'undefined_table',
      hint = 'The sidecar asks for its statements again by itself.';
end
$$;
