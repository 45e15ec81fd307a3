-- The foreign server through which embed_text reaches its own database, and with which role: one of its own, that may do
-- nothing but ask, for a session's other functions can use the same connection. Where no role may be made it is the
-- role that migrates. Options that an administrator has set stay; what is not set is found out when connecting.
do $$
declare
  asker name := (select pg_get_userbyid(p.proowner) from pg_proc p
                 where p.oid = to_regprocedure('sidecar.embed_text(text)'));
  login name := 'sidecar_loopback_' || (select d.oid from pg_database d where d.datname = current_database());
  password text := gen_random_uuid()::text || gen_random_uuid()::text;
  mapped record;
  already boolean;
  made_before boolean;
begin
  if not exists (select from pg_extension where extname = 'dblink') then
    return;
  end if;
  if not exists (select from pg_foreign_server where srvname = 'sidecar_loopback') then
    create server sidecar_loopback foreign data wrapper dblink_fdw options (connect_timeout '5');
  end if;

  select
    (select o.option_value from pg_options_to_table(u.umoptions) o where o.option_name = 'user') as login,
    (select o.option_value from pg_options_to_table(u.umoptions) o where o.option_name = 'password') as password
  into mapped
  from pg_user_mappings u
  where u.srvname = 'sidecar_loopback' and u.usename = asker;
  already := found;
  made_before := mapped.login = login and mapped.password is not null and to_regrole(login) is not null;
  -- A dump brings the mapping to our role of another database, or an empty one where the dumper could not read it.
  if already and coalesce(mapped.login, mapped.password, 'sidecar_loopback_') not like 'sidecar\_loopback\_%' then
    return;
  end if;

  begin
    if made_before then
      null;
    elsif to_regrole(login) is null then
      execute format('create role %I login noinherit password %L', login, password);
    else
      execute format('alter role %I login password %L', login, password);
    end if;
    if not made_before then
      execute format('comment on role %I is %L', login, 'embed_text of ' || current_database() || ' asks with it');
    end if;
    if not has_database_privilege(login, current_database(), 'connect') then
      execute format('grant connect on database %I to %I', current_database(), login);
    end if;
    execute format('grant usage on schema sidecar to %I', login);
    if mapped.login <> login and to_regrole(quote_ident(mapped.login)) is not null then
      execute format('revoke usage on schema sidecar from %I', mapped.login);
    end if;
    begin
      -- What is cut short on the loopback, by a restart for one, leaves no question in the log either.
      execute format('alter role %I set log_min_error_statement = panic', login);
    exception
      when insufficient_privilege then
        null;
    end;
  exception
    when insufficient_privilege then
      if already and to_regrole(quote_ident(mapped.login)) is not null then
        return;
      end if;
      login := asker;
      password := nullif(current_setting('sidecar.loopback_password', true), '');
      raise notice 'embed_text connects to this database as %: % may not create roles', asker, current_user
        using hint = 'Whoever can call functions of dblink after embed_text can then act as that role; a role that may create roles avoids this.';
  end;
  if made_before then
    return;
  end if;
  if already then
    execute format('drop user mapping for %I server sidecar_loopback', asker);
  end if;
  execute format('create user mapping for %I server sidecar_loopback options (user %L)', asker, login);
  if password is not null then
    execute format('alter user mapping for %I server sidecar_loopback options (add password %L)', asker, password);
  end if;
exception
  when insufficient_privilege then
    raise notice 'embed_text needs a foreign server, which % may not create', current_user
      using hint = format(
        'Let an administrator run: GRANT USAGE ON FOREIGN DATA WRAPPER dblink_fdw TO %I; then run sidecar migrate again.',
        current_user
      );
end
$$
