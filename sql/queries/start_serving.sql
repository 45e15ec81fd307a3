-- $1 model: it answers embed_text from now on, where no other does
update sidecar.model m
set serving = true
where m.name = $1
  and not exists (select from sidecar.model o where o.serving)
