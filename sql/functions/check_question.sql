-- The attachment that a question is about, when its vectors can be compared with the serving model's.
create or replace function sidecar.check_question(target regclass, source_column name)
returns sidecar.attachment
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment := sidecar.find_attachment(target, source_column);
  serving text := (select m.name from sidecar.model m where m.serving);
begin
  if x.model <> serving then
    raise exception 'the vectors of % were made by %, and questions are answered by %', x.target, x.model, serving
      using errcode = 'object_not_in_prerequisite_state',
        hint = format(
          'Vectors of two models cannot be compared: SELECT sidecar.reembed(%L, %L);',
          x.target, sidecar.column_name(x.target, x.source_attnum)
        );
  end if;
  return x;
end
$$;
