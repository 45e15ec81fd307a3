-- $1 model, $2 most attempts, $3 how many at most: rows whose attempts were all spent by sidecars that died with them, or
-- that came back after that. crashed_alone: the one try more, with no other row in hand, is spent too.
select p.attachment, p.key::text, p.attempts > $2 and p.lease_until is not null as crashed_alone
from sidecar.pending p
join sidecar.attachment a on a.id = p.attachment
where a.model = $1
  and not a.paused
  and p.attempts >= $2
  and p.due_at <= clock_timestamp()
  and (p.lease_until is null or p.lease_until < clock_timestamp())
limit $3
