-- Attachments that do not fit their table, or whose triggers a BEFORE trigger has outdated, with what can be done about it
select
  a.id,
  f.finding,
  f.mend,
  coalesce(f.kind = 'lost', false) and sidecar.replacement_of(a) is null as forget,
  f.kind is null and pg_has_role(c.relowner, 'usage') as install
from sidecar.attachment a
left join pg_catalog.pg_class c on c.oid = a.target
left join lateral sidecar.attachment_fault(a) as f on true
where f.kind is not null
  or sidecar.triggers_outdated(a.id)
order by a.id
