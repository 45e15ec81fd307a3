-- $1 requests, $2 positions, $3 vectors, $4 digests, $5 modalities, $6 model
select sidecar.reply($1, $2, $3, $4, $5, $6)
