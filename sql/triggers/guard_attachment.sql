-- Who may write sidecar.attachment (role sidecar_admin) may do so for tables that it owns, and for no others: a row there
-- makes sidecars read one column and write another. The schema's owner and sidecars may for all; what became of a table
-- that is gone anybody may take away. Runs with the rights of whoever writes, to know who that is.
create or replace function sidecar.guard_attachment()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  stranger regclass;
begin
  if pg_has_role((select n.nspowner from pg_namespace n where n.oid = 'sidecar'::regnamespace), 'usage')
    or (to_regrole('sidecar_worker') is not null and pg_has_role(to_regrole('sidecar_worker')::oid, 'usage'))
  then
    return coalesce(new, old);
  end if;
  select t.target
  into stranger
  from (values (old.target, tg_op = 'INSERT'), (new.target, tg_op = 'DELETE')) as t (target, absent)
  left join pg_class c on c.oid = t.target
  where not t.absent
    and not case when c.oid is null then tg_op = 'DELETE' else pg_has_role(c.relowner, 'usage') end
  limit 1;
  if stranger is not null then
    raise exception 'you are not the owner of %', stranger
      using errcode = 'insufficient_privilege',
        hint = 'Only the owner of a table may attach it, and change or detach what is attached.';
  end if;
  return coalesce(new, old);
end
$$;

create or replace trigger guard
before insert or update or delete on sidecar.attachment
for each row execute function sidecar.guard_attachment();
