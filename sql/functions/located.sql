-- An attachment with the column numbers and names of this database. Numbers follow a RENAME, names survive pg_restore, which
-- leaves dropped columns out and so renumbers those behind them. The source column is also named by the update trigger, which
-- follows both.
create or replace function sidecar.located(x sidecar.attachment)
returns sidecar.attachment
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  here oid[] := sidecar.origin(x.target);
  -- Of a column that is gone: no column has it, and no other attachment of the table.
  nowhere smallint := -1000 - x.id % 30000;
begin
  if x.origin is distinct from here then
    x.origin := here;
    x.source_attnum := coalesce(
      (
        select t.tgattr[0]
        from pg_trigger t
        where t.tgrelid = x.target and t.tgname = format('sidecar_%s_update', x.id)
      ),
      sidecar.column_number(x.target, x.source_column),
      nowhere
    );
    -- Of a companion table no column was ever dropped.
    if x.storage = 'column' then
      x.embedding_attnum := coalesce(sidecar.column_number(x.target, x.embedding_column), nowhere);
    end if;
    x.key_attnums := coalesce(sidecar.primary_key(x.target), x.key_attnums);
  end if;
  x.source_column := coalesce(sidecar.column_name(x.target, x.source_attnum), x.source_column);
  x.embedding_column := coalesce(sidecar.embedding_name(x), x.embedding_column);
  return x;
end
$$;
