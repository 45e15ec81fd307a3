-- $1 model: attachments that were made before any sidecar ran get the first one's model
update sidecar.attachment a
set model = $1
where a.model is null
  and (select m.serving from sidecar.model m where m.name = $1)
