-- Queue entries of the tables that the caller owns, for sidecar_admin to write: sidecar.retry() does.
drop view if exists sidecar.own_pending;
create view sidecar.own_pending with (security_barrier) as
select p.*
from sidecar.pending p
where
  exists (
    select
    from sidecar.attachment a
    join pg_class c on c.oid = a.target
    join pg_namespace n on n.nspname = 'sidecar'
    where a.id = p.attachment
      and (pg_has_role(c.relowner, 'usage') or pg_has_role(n.nspowner, 'usage'))
  )
with check option;
