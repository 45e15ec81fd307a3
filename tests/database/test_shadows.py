"""Objects of others that bear the names of PostgreSQL's own: nothing of the product ever runs them.

Whatever of them is run takes a number from the sequence evil.loot, which no rollback gives back.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from sidecar import migrate
from sidecar.resources import sql_root
from tests.fix_live import Start, wait_until_quiet
from tests.fix_pgbouncer import StartPooler
from tests.fix_postgres import Connect, Connection

Role = Callable[..., str]

STEAL = """
create schema evil;
grant usage on schema evil to public;
create sequence evil.loot;
grant all on sequence evil.loot to public;
create function evil.steal() returns boolean language plpgsql as $$
begin
  perform pg_catalog.nextval('evil.loot'::pg_catalog.regclass);
  return true;
end $$;
"""
SHADOWS = """
do $do$
declare
  made record;
begin
  -- Each function that the product's SQL names, with its arguments, and with some that suit better.
  for made in
    select distinct on (f) f
    from (
      select format('%%I(%%s) returns %%s', p.proname, pg_get_function_identity_arguments(p.oid),
        pg_get_function_result(p.oid)) as f
      from pg_proc p
      where p.pronamespace = 'pg_catalog'::regnamespace
        and p.proname = any (%(names)s) and p.prokind = 'f' and p.provariadic = 0
        and not p.proargtypes::oid[]
          && array['"any"'::regtype, 'internal'::regtype, 'cstring'::regtype]::oid[]
        and p.proallargtypes is null and p.prorettype <> 'internal'::regtype
        and p.proname <> all (array['nextval', 'format'])
      union all
      select format('format(text, %%s) returns text', t) from unnest(%(types)s::text[]) t
      union all
      select format('format(text, %%s, %%s) returns text', t, u)
      from unnest(%(types)s::text[]) t, unnest(%(types)s::text[]) u
      union all
      select format('jsonb_build_array(%%s) returns jsonb', t) from unnest(%(types)s::text[]) t
      union all
      values
        ('make_interval(secs double precision) returns interval'),
        ('make_interval(secs numeric) returns interval'),
        ('nextval(text) returns bigint'),
        ('pg_notify(text, text) returns void'),
        ('octet_length(evil.photo) returns integer')
    ) as functions
  loop
    execute format(
      'create or replace function evil.%%s language plpgsql as
        $$begin perform evil.steal(); return%%s; end$$',
      made.f,
      case when made.f ~* 'returns (setof|void|table)' then '' else ' null' end
    );
  end loop;
  for made in select t, u from unnest(%(types)s::text[]) t, unnest(%(types)s::text[]) u loop
    execute format(
      'create function evil.operate(%%s, %%s) returns boolean language plpgsql as
        $$begin return evil.steal(); end$$',
      made.t, made.u
    );
  end loop;
  for made in
    select t, u, o
    from unnest(%(types)s::text[]) t, unnest(%(types)s::text[]) u,
      unnest(array['=', '<>', '<', '>', '-', '*', '||']) o
  loop
    execute format(
      'create operator evil.%%s (function = evil.operate, leftarg = %%s, rightarg = %%s)',
      made.o, made.t, made.u
    );
  end loop;
end
$do$;
create domain evil.text as pg_catalog.text check (evil.steal());
create domain evil.jsonb as pg_catalog.jsonb check (evil.steal());
create domain evil.bytea as pg_catalog.bytea check (evil.steal());
create domain evil.timestamptz as pg_catalog.timestamptz check (evil.steal());
create domain evil.regclass as pg_catalog.regclass check (evil.steal());
"""
TYPES = [
    *(
        "pg_catalog." + name
        for name in ("int2", "int4", "int8", "text", "varchar", "name", "jsonb")
    ),
    *("pg_catalog." + name for name in ("timestamptz", "interval", "float8", "regclass", "oid")),
]


def shadow(connection: Connection) -> None:
    """Makes them, and puts them before PostgreSQL's own for every new session of the database."""
    connection.execute(STEAL)
    connection.execute("create domain evil.photo as bytea")
    text = " ".join(path.read_text() for path in sql_root().rglob("*.sql"))
    names = sorted(set(re.findall(r"\b([a-z_0-9]+)\(", text)))
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(SHADOWS, {"names": names, "types": TYPES})
    connection.execute(
        sql.SQL("alter database {} set search_path = evil, pg_catalog, public").format(
            sql.Identifier(connection.info.dbname)
        )
    )


def loot(connection: Connection) -> bool:
    """Whether anything of it was ever run."""
    row = connection.execute("select is_called from evil.loot").fetchone()
    assert row is not None
    return bool(row[0])


CALLS = (
    "select sidecar.embed_text('a')",
    "select sidecar.embed_text('{b,c}'::pg_catalog.text[])",
    "call sidecar.embed('d', null)",
    "call sidecar.embed_many('{e,f}', null)",
    "select sidecar.serving_model()",
    "select 1 from sidecar.search(NULL::public.note, 'g', source_column => 'body')",
    "select 1 from sidecar.search(NULL::public.note, "
    " (select body_embedding from public.note limit 1), source_column => 'body')",
    "select 1 from sidecar.similar(NULL::public.note, '[\"k1\", 1]', source_column => 'body')",
    "select 1 from public.note n, sidecar.classify(n.body_embedding, '{h,i}', '%s!') c",
    "select 1 from sidecar.explain('public.note', 'body', '[\"k1\", 1]')",
    "select 1 from sidecar.status",
    "select 1 from sidecar.failures",
    "select 1 from sidecar.queue",
    "select 1 from sidecar.workers",
    "select 1 from sidecar.stopped_workers",
    "select 1 from sidecar.doctor()",
    "call sidecar.wait('public.note', 'body')",
)
OWNER_CALLS = (
    "select sidecar.pause('public.note', 'body')",
    "select sidecar.resume('public.note', 'body')",
    "select sidecar.retry('public.note', 'body')",
    "select sidecar.reembed('public.note', 'body')",
    "select sidecar.detach('public.note', 'body')",
)


@pytest.mark.parametrize("pooled", [False, True])
def test_nothing_shadowed_is_run_by_a_migration_a_sidecar_or_any_call(
    connect: Connect,
    empty_database: str,
    role: Role,
    pooler: StartPooler,
    live: Start,
    pooled: bool,
) -> None:
    thief = connect(empty_database)
    thief.execute("create extension vector; create extension dblink")
    shadow(thief)
    migrate.upgrade(empty_database)
    thief.execute("reset search_path")
    owner = connect(empty_database)
    assert not loot(thief)

    owner.execute(
        "create table public.note (slug pg_catalog.varchar(20), part pg_catalog.int2,"
        " body pg_catalog.text, photo evil.photo, primary key (slug, part))"
    )
    owner.execute("select sidecar.attach('public.note', 'body')")
    owner.execute("select sidecar.attach('public.note', 'photo', index => 'none')")
    sidecar = live(pooler(url=empty_database).url() if pooled else empty_database)
    owner.execute("insert into public.note values ('k1', 1, 'one', null), ('k2', 2, ' ', '\\x00')")
    owner.execute("update public.note set body = 'two' where slug is not null and body is not null")
    wait_until_quiet(thief)
    application = connect(role(empty_database))
    thief.execute(f"grant sidecar_user to {application.info.user}")
    thief.execute(f"grant select on note to {application.info.user}")
    for call in CALLS:
        owner.execute(call)
        application.execute(call)
    # With temporary objects too, which come before all others where a path does not name them.
    owner.execute("create domain pg_temp.text as pg_catalog.text check (evil.steal())")
    owner.execute(
        "create domain pg_temp.timestamptz as pg_catalog.timestamptz check (evil.steal())"
    )
    owner.execute("create temp table attachment (); create temp table request ()")
    for call in (*CALLS, *OWNER_CALLS):
        owner.execute(call)
    sidecar.stop()
    migrate.upgrade(empty_database)
    migrate.downgrade(empty_database)
    assert not loot(thief)


def test_a_type_runs_no_code_of_its_owner_with_the_rights_of_others(
    connect: Connect, database: str, role: Role, live: Start
) -> None:
    owner = connect()
    owner.execute(STEAL)
    tenant = connect(role(database))
    name = tenant.info.user
    owner.execute(f"grant sidecar_admin to {name}; create schema {name} authorization {name}")
    tenant.execute(
        f"create type {name}.mood as enum ('sad', 'glad');"
        f"create function {name}.told(text) returns {name}.mood language plpgsql"
        " as 'begin perform evil.steal(); return null; end';"
        f"create function {name}.tells({name}.mood) returns text language plpgsql"
        " as 'begin perform evil.steal(); return null; end';"
        f"create cast (text as {name}.mood) with function {name}.told(text);"
        f"create cast ({name}.mood as text) with function {name}.tells({name}.mood) as assignment;"
        f"create function {name}.fine(integer) returns boolean language plpgsql"
        " as 'begin if current_user <> ''%s'' then perform evil.steal(); end if; return true; end';"
        f"create domain {name}.score as integer check ({name}.fine(value));" % name
    )
    tenant.execute(
        f"create table {name}.note (mood {name}.mood, score {name}.score, body text,"
        " primary key (mood, score))"
    )
    tenant.execute("select sidecar.attach('note', 'body')")
    live()
    tenant.execute("insert into note values ('sad', 1, 'one'), ('glad', 2, 'two')")
    wait_until_quiet(owner)
    # Not update, which compares keys as its own table's owner would.
    for call in (
        f"select * from sidecar.explain('{name}.note', 'body', '[\"sad\", 1]')",
        f"select 1 from sidecar.similar(NULL::{name}.note, key => '[\"sad\", 1]')",
        "select * from sidecar.status",
        "select * from sidecar.doctor()",
        f"select sidecar.reembed('{name}.note', 'body')",
    ):
        owner.execute(call)
    wait_until_quiet(owner)
    assert owner.execute(
        f"select count(body_embedding), (select state from sidecar.explain('{name}.note', 'body',"
        f" '[\"sad\", 1]')) from {name}.note"
    ).fetchone() == (2, "current")
    assert not loot(owner)


def test_every_function_with_its_owners_rights_has_a_fixed_search_path(
    connect: Connect, database: str
) -> None:
    """And those that are not for everybody are not; those that are, are listed here."""
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body', on_change => 'clear')")
    rows = connection.execute(
        "select p.proname, p.proconfig, has_function_privilege('public', p.oid, 'execute'),"
        " p.prorettype = 'trigger'::regtype"
        " from pg_proc p where p.pronamespace = 'sidecar'::regnamespace and p.prosecdef"
    ).fetchall()
    for name, settings, _, _ in rows:
        paths = [s for s in settings or [] if s.startswith("search_path=")]
        assert paths == ["search_path=pg_catalog, pg_temp"], name
    callable_by_all = {name for name, _, public, trigger in rows if public and not trigger}
    assert callable_by_all == {
        *("ask", "answer", "nap", "refuse", "serving_model"),
        *("embed_text", "embed_image"),
        # What they do follows from the catalogue alone, whoever asks.
        *("forget_lost", "note_columns", "loopback_fault"),
    }
    triggers_for_all = {name for name, _, public, trigger in rows if public and trigger}
    assert triggers_for_all == {"ring", "clear"}
    for (name,) in connection.execute(
        "select p.oid::regprocedure::text from pg_proc p"
        " where p.pronamespace = 'sidecar'::regnamespace and not p.prosecdef"
        " and p.proconfig is null and not (p.prokind = 'p' or p.proname = 'classify')"
    ).fetchall():
        raise AssertionError(f"{name} has no search_path of its own")
