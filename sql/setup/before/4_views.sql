-- Views are dropped and made again by every upgrade. A user's view on top of one is named before anything changes.
do $$
declare
  dependents text;
begin
  select string_agg(distinct d.view::regclass::text, ', ')
  into dependents
  from (
    select r.ev_class as view
    from pg_class c
    join pg_depend p on p.refclassid = 'pg_class'::regclass and p.refobjid = c.oid
    join pg_rewrite r on p.classid = 'pg_rewrite'::regclass and r.oid = p.objid
    join pg_class v on v.oid = r.ev_class
    where c.relnamespace = 'sidecar'::regnamespace
      and c.relkind = 'v'
      and v.relnamespace <> 'sidecar'::regnamespace
  ) as d;
  if dependents is not null then
    raise exception 'these views depend on views of the schema sidecar: %', dependents
      using errcode = 'dependent_objects_still_exist',
        hint = 'Drop them, run sidecar migrate, and create them again.';
  end if;
end
$$
