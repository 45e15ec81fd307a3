-- $1 request, $2 error code, $3 message
update sidecar.request
set error = $2,
  message = $3
where id = $1
  and reply is null
