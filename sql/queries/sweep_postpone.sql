-- $1 attachment, $2 seconds: its table refuses to be read as it is now
update sidecar.sweep
set due_at = clock_timestamp() + make_interval(secs => $2)
where attachment = $1
