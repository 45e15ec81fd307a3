-- Each thing that is wrong, worst first, with what mends it: SQL, or a command of the shell. An empty answer: all is well.
create or replace function sidecar.doctor()
returns table (severity text, finding text, mend text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select f.severity, f.finding, f.mend
  from (
    select * from sidecar.doctor_of_questions()
    union all
    select * from sidecar.doctor_of_database()
    union all
    select d.*
    from sidecar.attachment known
    cross join lateral sidecar.located(known) a
    cross join lateral sidecar.doctor_of_attachment(a) d
    where not exists (select from pg_class c where c.oid = a.target)
      or has_table_privilege(a.target, 'select')
  ) as f
  order by array_position(array['error', 'warning', 'note'], f.severity), f.finding
$$;
