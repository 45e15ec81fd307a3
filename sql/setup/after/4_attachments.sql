-- What attach made is made again with the current text: trigger functions, and the rights of a role sidecar_worker that
-- may be younger than the attachment. Attachments that lost their table or
-- a column are forgotten, but where another table has taken the place: then sidecar.doctor() says so.
do $$
declare
  x record;
begin
  perform sidecar.note_columns();
  for x in
    select a.id, a.target, a as attachment, c.oid is null as gone
    from sidecar.attachment a
    left join pg_class c on c.oid = a.target
    order by a.id
    for update of a
  loop
    if sidecar.replacement_of(x.attachment) is null and sidecar.forget_lost(x.id) or x.gone then
      continue;
    end if;
    begin
      perform sidecar.make_worker_views(x.id);
    exception
      when insufficient_privilege then
        raise notice 'let the owner of % run: SELECT sidecar.make_worker_views(%)', x.target, x.id;
      when null_value_not_allowed then
        null;
    end;
    perform sidecar.install_trigger_functions(x.id);
    begin
      perform sidecar.grant_to_worker(x.id);
    exception
      when insufficient_privilege then
        raise notice 'let the owner of % run: SELECT sidecar.grant_to_worker(%)', x.target, x.id;
      when null_value_not_allowed then
        null; -- it has lost a column: sidecar.doctor() says so
    end;
  end loop;
end
$$
