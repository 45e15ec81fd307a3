-- What attach made is made again with the current text: trigger functions, and the rights of a role sidecar_worker that
-- may be younger than the attachment. Attachments of tables that were dropped are forgotten.
do $$
declare
  x record;
begin
  for x in
    select a.id, a.target, c.oid is null as gone, i.indexrelid as key_index
    from sidecar.attachment a
    left join pg_class c on c.oid = a.target
    left join pg_index i on i.indrelid = a.target and i.indisprimary
    order by a.id
    for update of a
  loop
    if x.gone then
      delete from sidecar.attachment where id = x.id;
      perform sidecar.drop_trigger_functions(x.id);
      continue;
    end if;
    update sidecar.attachment
    set key_index = x.key_index
    where id = x.id and key_index <> x.key_index;
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
