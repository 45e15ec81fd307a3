"""Migrations: there, again, as a script, back, and beside whatever else lives in the database."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from sidecar import migrate
from sidecar.embedded import Server
from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]
CHECKOUT = Path(__file__).parents[2]

SCHEMA = """
select 'table', attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod)
  || ' ' || attnotnull || ' ' || attidentity::text
  || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || coalesce(c.reloptions::text, '')
from pg_attribute a
join pg_class c on c.oid = a.attrelid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.relnamespace = 'sidecar'::regnamespace and attnum > 0 and not attisdropped
union all
select 'rights', oid::regclass || relkind::text || coalesce(relacl::text, '')
from pg_class where relnamespace = 'sidecar'::regnamespace
union all
select 'function', pg_get_functiondef(oid) || coalesce(proacl::text, '')
from pg_proc where pronamespace = 'sidecar'::regnamespace
union all
select 'view', oid::regclass || pg_get_viewdef(oid)
from pg_class where relnamespace = 'sidecar'::regnamespace and relkind = 'v'
union all
select 'index', pg_get_indexdef(indexrelid) from pg_index i join pg_class c on c.oid = i.indrelid
where c.relnamespace = 'sidecar'::regnamespace
union all
select 'constraint', conrelid::regclass || pg_get_constraintdef(oid)
from pg_constraint where connamespace = 'sidecar'::regnamespace
union all
select 'schema', nspacl::text from pg_namespace where nspname = 'sidecar'
union all
select 'extension', extname || extnamespace::regnamespace from pg_extension
union all
select 'server', srvname || coalesce(srvoptions::text, '') from pg_foreign_server
union all
select 'version', version_num from sidecar.alembic_version
order by 1, 2
"""


def schema_of(connection: Connection) -> list[Any]:
    """All that a migration makes; the loopback's role is named after the database."""
    return [
        (kind, text and re.sub(r"sidecar_loopback_\d+", "sidecar_loopback_", text))
        for kind, text in connection.execute(SCHEMA).fetchall()
    ]


def scalar(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Alembic's own command in the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("empty_database", [16, 18], indirect=True)
def test_upgrading_again_changes_nothing(connect: Connect, empty_database: str) -> None:
    migrate.upgrade(empty_database)
    connection = connect(empty_database)
    first = schema_of(connection)
    migrate.upgrade(empty_database)
    assert schema_of(connection) == first
    assert scalar(connection, "select to_regclass('public.alembic_version')") is None


def test_an_applications_own_alembic_is_not_disturbed(
    connect: Connect, empty_database: str
) -> None:
    connection = connect(empty_database)
    connection.execute("create table alembic_version (version_num varchar(32) primary key)")
    connection.execute("insert into alembic_version values ('their_own')")
    migrate.upgrade(empty_database)
    migrate.downgrade(empty_database)
    migrate.upgrade(empty_database)
    assert connection.execute("select * from public.alembic_version").fetchall() == [("their_own",)]
    assert scalar(connection, "select version_num from sidecar.alembic_version") == "0001"


def test_alembic_works_from_the_checkout(connect: Connect, empty_database: str) -> None:
    connection = connect(empty_database)
    looked = alembic(empty_database, "current")
    assert looked.returncode == 0, looked.stderr
    assert scalar(connection, "select to_regnamespace('sidecar')") is None
    up = alembic(empty_database, "upgrade", "head")
    assert up.returncode == 0, up.stderr
    assert "0001" in alembic(empty_database, "current").stdout
    first = schema_of(connection)
    stamped = alembic(empty_database, "stamp", "head")
    assert stamped.returncode == 0, stamped.stderr
    assert schema_of(connection) == first
    down = alembic(empty_database, "downgrade", "base")
    assert down.returncode == 0, down.stderr
    assert scalar(connection, "select to_regnamespace('sidecar')") is None


def test_alembic_without_a_database_says_what_is_missing() -> None:
    done = alembic("", "upgrade", "head")
    assert done.returncode != 0
    assert "DATABASE_URL is not set" in done.stderr


def psql(server: Server, database: str, script: str) -> subprocess.CompletedProcess[str]:
    """The program that administrators use, out of the wheel that the server came in."""
    program = shlex.split(server.psql)[0]
    return subprocess.run(
        [program, "-X", "-v", "ON_ERROR_STOP=1", "-d", database],
        input=script,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_offline_script_makes_the_same_schema(
    connect: Connect, empty_database: str, database: str, postgres: Server
) -> None:
    script = io.StringIO()
    migrate.upgrade_script(script)
    done = psql(postgres, empty_database, script.getvalue())
    assert done.returncode == 0, done.stderr
    assert schema_of(connect(empty_database)) == schema_of(connect())
    migrate.upgrade(empty_database)
    assert schema_of(connect(empty_database)) == schema_of(connect())


def test_the_way_back_can_be_a_script_too(
    connect: Connect, database: str, postgres: Server
) -> None:
    done = alembic("postgresql://nowhere/x", "downgrade", "0001:base", "--sql")
    assert done.returncode == 0, done.stderr
    applied = psql(postgres, database, done.stdout)
    assert applied.returncode == 0, applied.stderr
    assert scalar(connect(), "select to_regnamespace('sidecar')") is None


OUTSIDE = """
select 'relation', c.oid::regclass || c.relkind::text
from pg_class c where relnamespace = 'public'::regnamespace
union all select 'trigger', tgname from pg_trigger where not tgisinternal
union all select 'function', p.oid::regprocedure::text from pg_proc p
  where pronamespace = 'public'::regnamespace
  and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
union all select 'schema', nspname from pg_namespace where nspname !~ '^pg_toast|^pg_temp'
union all select 'server', srvname from pg_foreign_server
union all select 'mapping', srvname from pg_user_mappings
union all select 'extension', extname from pg_extension
union all select 'right', c.oid::regclass || r.grantee::regrole::text
  from pg_class c, aclexplode(c.relacl) r
  where relnamespace = 'public'::regnamespace and r.grantee <> c.relowner
union all select 'column right', a.attrelid::regclass || r.grantee::regrole::text
  from pg_attribute a, aclexplode(a.attacl) r where a.attrelid >= 16384
union all select 'role', rolname from pg_roles where rolname = 'sidecar_loopback_' || (
  select oid from pg_database where datname = current_database())
order by 1, 2
"""


def test_the_way_back_leaves_tables_vectors_and_indexes_and_nothing_else(
    connect: Connect, empty_database: str
) -> None:
    connection = connect(empty_database)
    connection.execute("create extension vector")
    connection.execute(
        "create table note (id int primary key, body text, body_embedding vector(768));"
        "create index own on note using hnsw (body_embedding vector_cosine_ops);"
        "create table whole (id int primary key, body text, body_embedding vector(768))"
        " partition by hash (id);"
        "create table part partition of whole for values with (modulus 1, remainder 0);"
        "create index theirs on whole using hnsw (body_embedding vector_cosine_ops);"
        "insert into note values (1, 'one', array_fill(0.5, array[768])::vector)"
    )
    before = connection.execute(OUTSIDE).fetchall()
    migrate.upgrade(empty_database)
    for table in ("note", "whole"):
        connection.execute("select sidecar.attach(%s, 'body', on_change => 'clear')", [table])
    connection.execute("insert into note values (2, 'two')")
    migrate.downgrade(empty_database)
    assert connection.execute(OUTSIDE).fetchall() == before
    assert connection.execute(
        "select vector_norm(body_embedding) > 13 from note where id = 1"
    ).fetchone() == (True,)
    migrate.upgrade(empty_database)
    connection.execute("select sidecar.attach('note', 'body')")
    connection.execute("update note set body = 'three' where id = 1")
    assert scalar(connection, "select count(*) from sidecar.pending") == 1


def test_a_users_view_on_ours_stops_an_upgrade_before_anything_changes(
    connect: Connect, database: str
) -> None:
    connection = connect()
    connection.execute("create function sidecar.old() returns int language sql as 'select 1'")
    before = schema_of(connection)
    connection.execute("create view our_status as select target, pending from sidecar.status")
    for go in (migrate.upgrade, migrate.downgrade):
        with pytest.raises(DBAPIError) as raised:
            go(database)
        assert isinstance(raised.value.orig, errors.DependentObjectsStillExist)
        assert "our_status" in str(raised.value.orig)
        assert raised.value.orig.diag.message_hint
    assert schema_of(connection) == before
    connection.execute("drop view our_status")
    migrate.upgrade(database)


def test_what_a_user_built_on_our_functions_stops_the_way_back(
    connect: Connect, database: str
) -> None:
    connection = connect()
    connection.execute("create table t (id int primary key, title text)")
    connection.execute(
        "create view hits as select t.*, sidecar.embed_text('a') as asked from t;"
        "create view lost as select * from sidecar.failure"
    )
    with pytest.raises(DBAPIError) as raised:
        migrate.downgrade(database)
    assert isinstance(raised.value.orig, errors.DependentObjectsStillExist)
    assert "hits" in str(raised.value.orig)
    assert scalar(connection, "select to_regclass('hits') is not null")
    migrate.upgrade(database)
    connection.execute("drop view hits, lost")
    migrate.downgrade(database)


def test_extensions_in_a_schema_of_their_own_work_end_to_end(
    connect: Connect, empty_database: str, live: Start
) -> None:
    connection = connect(empty_database)
    connection.execute("create schema extensions")
    connection.execute("create extension vector schema extensions")
    connection.execute("create extension dblink schema extensions")
    migrate.upgrade(empty_database)
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("insert into note values (1, 'one')")
    connection.execute("select sidecar.attach('note', 'body')")
    live(empty_database)
    connection.execute("insert into note values (2, 'two')")
    wait_until_quiet(connection)
    assert assert_right(connection) == 2
    assert connection.execute(
        "select id from note"
        " order by body_embedding operator(extensions.<=>) sidecar.embed_text('two') limit 1"
    ).fetchone() == (2,)
    assert connection.execute(
        "select (item).id from sidecar.search(null::note, 'one', k => 1)"
    ).fetchone() == (1,)


def test_without_createrole_it_goes_on_and_says_what_an_administrator_runs(
    connect: Connect, empty_database: str, role: Callable[..., str]
) -> None:
    administrator = connect(empty_database)
    administrator.execute("create extension vector")
    url = role(empty_database)
    user = psycopg.conninfo.conninfo_to_dict(url)["user"]
    administrator.execute(f"grant create on database {administrator.info.dbname} to {user}")
    # The three roles are there already, for they belong to the whole cluster; this one is not.
    heard: list[str] = []
    connection = connect(url)
    connection.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
    roles = (CHECKOUT / "sql/setup/after/1_roles.sql").read_text()
    connection.execute(roles.replace("sidecar_worker", f"worker_of_{user}").encode())
    assert any(f"CREATE ROLE worker_of_{user} NOLOGIN" in line for line in heard), heard
    assert any(f"GRANT worker_of_{user} TO" in line for line in heard), heard
    migrate.upgrade(url)
    assert scalar(connection, "select has_schema_privilege('sidecar_worker', 'sidecar', 'usage')")


def test_an_upgrade_keeps_attachments_and_pending_rows_and_renews_their_functions(
    connect: Connect, live: Start, database: str
) -> None:
    connection = connect()
    for table in ("note", "dropped"):
        connection.execute(f"create table {table} (id int primary key, body text)")
        connection.execute(f"select sidecar.attach('{table}', 'body', on_change => 'clear')")
        connection.execute(f"insert into {table} values (1, 'one')")
    connection.execute("alter table note rename id to number")
    connection.execute("reindex table concurrently note")
    connection.execute("drop table dropped")
    connection.execute(
        "create or replace function sidecar.queue_1_row() returns trigger language plpgsql"
        " as 'begin raise exception ''of an older version''; end'"
    )
    kept = connection.execute("select key, generation from sidecar.pending where attachment = 1")
    before = kept.fetchall()
    migrate.upgrade(database)
    assert (
        connection.execute(
            "select key, generation from sidecar.pending where attachment = 1"
        ).fetchall()
        == before
        == [([1], 1)]
    )
    assert connection.execute(
        "select count(*), min(target::text) from sidecar.attachment"
    ).fetchone() == (1, "note")
    assert connection.execute(
        "select array_agg(proname::text order by proname) from pg_proc"
        " where pronamespace = 'sidecar'::regnamespace and proname ~ '[0-9]'"
    ).fetchone() == (["clear_1_row", "queue_1_row", "queue_1_statement"],)
    assert "number" in scalar(
        connection, "select prosrc from pg_proc where proname = 'queue_1_row'"
    )
    connection.execute("update note set body = 'two'")
    connection.execute("insert into note values (2, 'three')")
    live()
    wait_until_quiet(connection)
    assert assert_right(connection) == 2
    assert (
        scalar(connection, "select count(*) from sidecar.doctor() where finding ~ 'note|key'") == 0
    )


def test_a_role_that_came_late_gets_its_rights_by_the_next_upgrade(
    connect: Connect, database: str
) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body')")
    connection.execute("revoke all on note from sidecar_worker")
    connection.execute(
        "revoke select (id, body, body_embedding), update (body_embedding)"
        " on note from sidecar_worker"
    )
    right = "select has_column_privilege('sidecar_worker', 'note', 'body_embedding', 'update')"
    assert scalar(connection, right) is False
    migrate.upgrade(database)
    assert scalar(connection, right) is True


@pytest.mark.parametrize("held", ["sidecar.status", "sidecar.failures"])
def test_an_upgrade_that_another_session_blocks_fails_within_seconds(
    connect: Connect, database: str, held: str
) -> None:
    connection = connect()
    with connection.transaction():
        connection.execute(f"lock table {held} in access share mode")
        started = time.monotonic()
        with pytest.raises(DBAPIError) as raised:
            migrate.upgrade(database)
    assert isinstance(raised.value.orig, errors.LockNotAvailable)
    assert 4 < time.monotonic() - started < 12
    migrate.upgrade(database)


def test_two_machines_that_migrate_at_once_both_succeed(
    connect: Connect, empty_database: str
) -> None:
    # Alembic's own state is one a process, so they are processes.
    answers: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(alembic(empty_database, "upgrade", "head")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.returncode for answer in answers] == [0, 0], [a.stderr[-600:] for a in answers]
    assert scalar(connect(empty_database), "select count(*) from sidecar.alembic_version") == 1
