-- What a column holds that only names its content: an image. An error where its type cannot name one. Such a column holds no
-- texts, whatever is asked for.
create or replace function sidecar.check_reference(target regclass, source_column name, type oid, source text, modality text)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  holds text := sidecar.type_holds(type, source);
begin
  if check_reference.modality = 'text' then
    raise exception 'modality => ''text'' is not possible with source => %', quote_literal(source)
      using errcode = 'feature_not_supported',
        hint = 'From there only images are read; store texts in the column itself, with source => ''inline''.';
  end if;
  if holds is null then
    raise exception 'column % of % has the type %, and source => % needs %',
      quote_ident(source_column), target, format_type(type, null), quote_literal(source),
      case source when 'large_object' then 'oid' else 'text' end
      using errcode = 'datatype_mismatch',
        hint = case source
          when 'large_object' then 'The column holds the oid of a large object, as lo_create returns it.'
          when 'file' then 'The column holds paths; a bytea column with the picture itself is source => ''inline''.'
          else 'The column holds URLs; a bytea column with the picture itself is source => ''inline''.'
        end;
  end if;
  return holds;
end
$$;
