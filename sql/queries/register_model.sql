-- $1 model, $2 width of its vectors
insert into sidecar.model (name, width)
values ($1, $2)
on conflict (name) do update set width = excluded.width
