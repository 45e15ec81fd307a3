-- The id of the attachment that x asks for, where it exists; NULL where it does not; an error where it has other options.
-- `embedding` and `model` as the caller gave them: NULL asks for none in particular.
create or replace function sidecar.check_attached(x sidecar.attachment, embedding name, model text)
returns integer
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  known sidecar.attachment;
begin
  select * into known
  from sidecar.attachment a
  where a.target = x.target and a.source_attnum = x.source_attnum;
  if (known.modality, known.source, known.storage, known.index, known.on_change)
      is distinct from (x.modality, x.source, x.storage, x.index, x.on_change)
    or embedding <> sidecar.embedding_name(known)
    or check_attached.model is not null and check_attached.model is distinct from known.model
  then
    if known.id is not null then
      raise exception '% of % is attached already, with other options', quote_ident(x.source_column), x.target
        using errcode = 'object_not_in_prerequisite_state',
          hint = format(
            'SELECT sidecar.detach(%L, %L); keeps its vectors; then attach it again.', x.target, x.source_column
          );
    end if;
  end if;
  return known.id;
end
$$;
