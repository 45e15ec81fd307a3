-- Puts the triggers of one attachment on its table; runs with the rights of the table's owner.
-- CREATE TRIGGER takes SHARE ROW EXCLUSIVE on the table for the transaction: readers go on, writers wait.
create or replace function sidecar.install_triggers(attachment integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  x sidecar.attachment;
  partitioned boolean;
  own_before_triggers boolean;
  base name[];
  tracked text;
  changed text;
  cleared text;
  columns text;
begin
  select * into strict x from sidecar.attachment a where a.id = install_triggers.attachment;
  select relkind = 'p' into partitioned from pg_class where oid = x.target;
  own_before_triggers := sidecar.before_triggers(x.target);
  -- A BEFORE trigger does not see the new value of a generated column: to clear its vector, what it is made of is watched.
  base := case when x.on_change = 'clear' then sidecar.generated_from(x.target, x.source_attnum) end;
  select
    string_agg(format('%I', name), ', ' order by place),
    string_agg(format('old.%1$I%2$s is distinct from new.%1$I%2$s', name, compared), ' or ' order by place),
    string_agg(format('old.%1$I%2$s is distinct from new.%1$I%2$s', name, compared), ' or ' order by place)
      filter (where case when base is null then place = 0 else name = any (base) end)
  into tracked, changed, cleared
  from (
    select sidecar.column_name(x.target, x.source_attnum) as name, 0 as place, '' as compared
    union all
    -- Types of an extension are compared as text: their own operators are not on the search_path here.
    select k.name, k.place, case k.operators when 'pg_catalog' then '' else '::text' end
    from sidecar.key_columns(x.id) k
    where k.name <> sidecar.column_name(x.target, x.source_attnum)
      and k.name <> all (coalesce(base, '{}'))
    union all
    select b.name, 1000, b.compared from sidecar.compared_columns(x.target, base) b
  ) as columns_of_interest;
  columns := case when own_before_triggers then '' else ' of ' || tracked end;

  if partitioned then
    -- Row-level: PostgreSQL clones it to partitions, and a partition can be written to directly.
    execute format(
      'create or replace trigger sidecar_%1$s_insert after insert on %2$s
      for each row execute function sidecar.queue_%1$s_row()',
      x.id, x.target
    );
    execute format(
      'create or replace trigger sidecar_%1$s_ring after insert or update%3$s on %2$s
      for each statement execute function sidecar.ring()',
      x.id, x.target, columns
    );
  else
    execute format(
      'create or replace trigger sidecar_%1$s_insert after insert on %2$s
      referencing new table as new_rows
      for each statement execute function sidecar.queue_%1$s_statement()',
      x.id, x.target
    );
    execute format(
      'create or replace trigger sidecar_%1$s_ring after update%3$s on %2$s
      for each statement execute function sidecar.ring()',
      x.id, x.target, columns
    );
  end if;
  execute format(
    'create or replace trigger sidecar_%1$s_update after update%3$s on %2$s
    for each row when (%4$s)
    execute function sidecar.queue_%1$s_row()',
    x.id, x.target, columns, changed
  );
  execute format(
    'create or replace trigger sidecar_%1$s_truncate after truncate on %2$s
    for each statement execute function sidecar.clear(%1$s)',
    x.id, x.target
  );
  if x.on_change = 'clear' and x.storage = 'table' then
    execute format(
      'create or replace trigger sidecar_%1$s_update_clear after update%3$s on %2$s
      for each row when (old.%4$I is distinct from new.%4$I)
      execute function sidecar.clear_%1$s_row()',
      x.id, x.target, columns, sidecar.column_name(x.target, x.source_attnum)
    );
    -- A row that moves to another partition is deleted there and inserted here; no UPDATE trigger sees it.
    if partitioned then
      execute format(
        'create or replace trigger sidecar_%1$s_delete_clear after delete on %2$s
        for each row execute function sidecar.clear_%1$s_row()',
        x.id, x.target
      );
    end if;
  elsif x.on_change = 'clear' then
    -- Triggers fire in the order of their names: after the table's own, which may change the column.
    execute format(
      'create or replace trigger zzz_sidecar_%1$s_clear before update%3$s on %2$s
      for each row when (%4$s)
      execute function sidecar.clear_%1$s_row()',
      x.id, x.target, columns, cleared
    );
  end if;
end
$$;
