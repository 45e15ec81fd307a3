-- The schema goes with CASCADE. What a user has built on our functions and tables would go with it, so it is named instead.
do $$
declare
  dependents text;
begin
  select string_agg(distinct pg_describe_object(d.classid, d.objid, d.objsubid), ', ')
  into dependents
  from (
    select 'pg_proc'::regclass as classid, p.oid from pg_proc p where p.pronamespace = 'sidecar'::regnamespace
    union all
    select 'pg_class'::regclass, c.oid from pg_class c where c.relnamespace = 'sidecar'::regnamespace
    union all
    select 'pg_type'::regclass, t.oid from pg_type t where t.typnamespace = 'sidecar'::regnamespace
  ) as ours
  join pg_depend d on d.refclassid = ours.classid and d.refobjid = ours.oid and d.deptype in ('n', 'a')
  left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
  left join pg_trigger t on d.classid = 'pg_trigger'::regclass and t.oid = d.objid
  left join pg_attrdef f on d.classid = 'pg_attrdef'::regclass and f.oid = d.objid
  left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
  left join pg_class c
    on c.oid = coalesce(
      r.ev_class, t.tgrelid, f.adrelid, nullif(k.conrelid, 0), case d.classid when 'pg_class'::regclass then d.objid end
    )
  left join pg_proc p on d.classid = 'pg_proc'::regclass and p.oid = d.objid
  left join pg_type y on d.classid = 'pg_type'::regclass and y.oid = d.objid
  where coalesce(c.relnamespace, p.pronamespace, y.typnamespace) <> 'sidecar'::regnamespace;
  if dependents is not null then
    raise exception 'these depend on the schema sidecar: %', dependents
      using errcode = 'dependent_objects_still_exist',
        hint = 'Drop them, or what in them names sidecar, and go back then.';
  end if;
end
$$
