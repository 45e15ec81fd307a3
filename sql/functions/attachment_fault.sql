-- Why the sidecar leaves an attachment alone as its table is now, and the SQL that mends it; no row: it is served.
-- Kinds: lost (the table or a column is gone: the attachment goes too), and key, source, vector, which wait for a mend.
create or replace function sidecar.attachment_fault(x sidecar.attachment)
returns table (kind text, finding text, mend text)
language plpgsql
stable
rows 1
set search_path = pg_catalog, pg_temp
as $$
declare
  source pg_attribute;
  vector pg_attribute;
  wanted text;
  label text;
  held text;
  key smallint[];
  key_names text;
begin
  x := sidecar.located(x);
  if not exists (select from pg_class c where c.oid = x.target) then
    return query select
      'lost',
      format('%s, of which %I is attached, was dropped', x.target_name, x.source_column),
      format('SELECT sidecar.forget_lost(%s);', x.id);
    return;
  end if;
  select * into source
  from pg_attribute a
  where a.attrelid = x.target and a.attnum = x.source_attnum and not a.attisdropped;
  select * into vector
  from pg_attribute a
  where a.attrelid = x.embedding_table and a.attnum = x.embedding_attnum and not a.attisdropped;
  label := format('%s.%I', x.target, coalesce(source.attname, x.source_column));
  if source.attname is null or vector.attname is null then
    return query select
      'lost',
      format(
        '%s is attached, and its %s was dropped',
        label, case when source.attname is null then 'source column' else 'vector column ' || quote_ident(x.embedding_column) end
      ),
      format('SELECT sidecar.forget_lost(%s);', x.id);
    return;
  end if;

  select (i.indkey::smallint[])[0:i.indnkeyatts - 1] into key from pg_index i where i.indrelid = x.target and i.indisprimary;
  if key is null then
    select string_agg(quote_ident(a.attname), ', ' order by k.place)
    into key_names
    from unnest(x.key_attnums) with ordinality as k (attnum, place)
    join pg_attribute a on a.attrelid = x.target and a.attnum = k.attnum and not a.attisdropped
    having count(*) = cardinality(x.key_attnums);
    return query select
      'key',
      format('%s is not embedded: %s has no primary key any more', label, x.target),
      coalesce(
        format('ALTER TABLE %s ADD PRIMARY KEY (%s);', x.target, key_names),
        format('SELECT sidecar.detach(%L, %L);', x.target, source.attname)
      );
    return;
  end if;
  if key <> x.key_attnums then
    return query select
      'key',
      format('%s is not embedded: the primary key of %s is on other columns than when it was attached', label, x.target),
      format('SELECT sidecar.detach(%L, %L); ', x.target, source.attname)
        || sidecar.attach_again(x, x.target, source.attname);
    return;
  end if;

  held := sidecar.type_holds(source.atttypid);
  if x.source = 'inline' and held is distinct from x.modality then
    return query select
      'source',
      format(
        '%s is not embedded: it was attached as %s, and now has the type %s',
        label, x.modality, format_type(source.atttypid, source.atttypmod)
      ),
      format('SELECT sidecar.detach(%L, %L);', x.target, source.attname)
        || case when held is null then '' else ' ' || sidecar.attach_again(x, x.target, source.attname) end;
    return;
  end if;
  select format('%I.vector(%s)', n.nspname, sidecar.model_width(x.model))
  into wanted
  from pg_extension e
  join pg_namespace n on n.oid = e.extnamespace
  where e.extname = 'vector';
  if format_type(vector.atttypid, vector.atttypmod) <> format_type(wanted::regtype, sidecar.model_width(x.model)) then
    return query select
      'vector',
      format(
        '%s is not embedded: its vector column %I has the type %s, and the vectors need %s',
        label, vector.attname, format_type(vector.atttypid, vector.atttypmod), wanted
      ),
      format('ALTER TABLE %s ALTER COLUMN %I TYPE %s USING NULL;', x.embedding_table, vector.attname, wanted)
        || format(' SELECT sidecar.reembed(%L, %L);', x.target, source.attname);
  end if;
end
$$;
