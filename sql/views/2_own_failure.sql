-- Failures of the tables that the caller owns, for sidecar_admin to take away: sidecar.retry() does.
drop view if exists sidecar.own_failure;
create view sidecar.own_failure with (security_barrier) as
select f.*
from sidecar.failure f
where
  exists (
    select
    from sidecar.attachment a
    join pg_class c on c.oid = a.target
    join pg_namespace n on n.nspname = 'sidecar'
    where a.id = f.attachment
      and (pg_has_role(c.relowner, 'usage') or pg_has_role(n.nspowner, 'usage'))
  )
with check option;
