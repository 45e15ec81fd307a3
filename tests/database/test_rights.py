"""Who may do what: applications, the three roles, the loopback's; what a way back leaves."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

from sidecar import migrate
from tests.fix_postgres import Connect
from tests.fix_sidecar import AnsweringSidecar

Role = Callable[..., str]


def test_a_role_with_usage_on_the_schema_alone_can_ask(
    connect: Connect, database: str, role: Role, answering_sidecar: AnsweringSidecar
) -> None:
    owner, application = connect(), connect(role(database))
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute("select sidecar.embed_text('a')")
    owner.execute(f"grant usage on schema sidecar to {application.info.user}")
    application.execute("select sidecar.embed_text('a')")
    application.execute("select sidecar.embed_image('a'::bytea)")
    application.execute("call sidecar.embed('b', null)")
    application.execute("select sidecar.embed_text(array['b', 'c'])")
    assert answering_sidecar.asked == ["a", b"a", "b", "c"]
    for secret in (
        "select * from sidecar.vector_cache",
        "select * from sidecar.request",
        "select sidecar.recall(array['a'], null)",
        "select sidecar.loopback('select 1')",
        "select sidecar.open_loopback('public', 'x')",
        "select sidecar.loopback_address()",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            application.execute(secret)


def test_the_kept_loopback_connection_may_do_nothing_but_ask(
    connect: Connect, database: str, role: Role, answering_sidecar: AnsweringSidecar
) -> None:
    owner, application = connect(), connect(role(database))
    owner.execute(f"grant usage on schema sidecar to {application.info.user}")
    owner.execute("create table private (secret text)")
    application.execute("select sidecar.embed_text('a')")
    for reach in (
        "select secret from public.private",
        "select model from sidecar.request",
        "create table public.mine as select 'x'",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            application.execute(
                "select * from dblink('sidecar_loopback', %s) as t (answer text)", [reach]
            )
    row = application.execute(
        "select who from dblink('sidecar_loopback', 'select current_user::text') as t (who text)"
    ).fetchone()
    assert row is not None
    assert row[0].startswith("sidecar_loopback_")


def test_a_role_that_may_make_roles_gets_the_same_without_being_superuser(
    connect: Connect, empty_database: str, role: Role
) -> None:
    administrator = connect(empty_database)
    for extension in ("vector", "dblink"):
        administrator.execute(f"create extension {extension}")
    url = role(empty_database, "createrole")
    name = psycopg.conninfo.conninfo_to_dict(url)["user"]
    administrator.execute(f"grant create on database {administrator.info.dbname} to {name}")
    administrator.execute(f"grant usage on foreign data wrapper dblink_fdw to {name}")
    migrate.upgrade(url)
    assert_asks(connect, url)


def test_a_role_that_may_make_no_roles_asks_over_its_own_password(
    connect: Connect, empty_database: str, role: Role
) -> None:
    administrator = connect(empty_database)
    for extension in ("vector", "dblink"):
        administrator.execute(f"create extension {extension}")
    url = role(empty_database)
    name = psycopg.conninfo.conninfo_to_dict(url)["user"]
    administrator.execute(f"grant create on database {administrator.info.dbname} to {name}")
    administrator.execute(f"grant usage on foreign data wrapper dblink_fdw to {name}")
    migrate.upgrade(url)
    migrate.upgrade(url)
    assert_asks(connect, url)


def assert_asks(connect: Connect, url: str) -> None:
    sidecar = AnsweringSidecar(url)
    sidecar.start()
    try:
        connect(url).execute("select sidecar.embed_text('a')")
    finally:
        sidecar.stop()
    assert sidecar.asked == ["a"]


def test_a_role_without_the_wrapper_migrates_and_call_works(
    connect: Connect, empty_database: str, role: Role
) -> None:
    administrator = connect(empty_database)
    for extension in ("vector", "dblink"):
        administrator.execute(f"create extension {extension}")
    url = role(empty_database)
    name = psycopg.conninfo.conninfo_to_dict(url)["user"]
    administrator.execute(f"grant create on database {administrator.info.dbname} to {name}")
    migrate.upgrade(url)
    connection = connect(url)
    sidecar = AnsweringSidecar(url)
    sidecar.start()
    try:
        connection.execute("call sidecar.embed('a', null)")
        with pytest.raises(errors.FeatureNotSupported) as raised:
            connection.execute("select sidecar.embed_text('b')")
    finally:
        sidecar.stop()
    assert "sidecar migrate" in (raised.value.diag.message_hint or "")


def test_extensions_may_live_in_any_schema(connect: Connect, empty_database: str) -> None:
    administrator = connect(empty_database)
    administrator.execute('create schema "Ext 1"')
    administrator.execute("create schema other")
    administrator.execute('create extension vector schema "Ext 1"')
    administrator.execute("create extension dblink schema other")
    migrate.upgrade(empty_database)
    assert_asks(connect, empty_database)
    connection = connect(empty_database)
    connection.execute(
        'create table t (id int primary key, title text, title_embedding "Ext 1".vector(768))'
    )
    connection.execute("select sidecar.attach('t', 'title', index => 'none')")
    question = 'array_fill(1, array[768])::"Ext 1".vector'
    connection.execute(f"insert into t values (1, 'x', {question})")
    row = connection.execute(
        f"select (item).id from sidecar.search(NULL::t, {question})"
    ).fetchone()
    assert row == (1,)


def test_sidecar_worker_is_enough_to_answer(connect: Connect, database: str, role: Role) -> None:
    owner = connect()
    url = role(database)
    worker = psycopg.conninfo.conninfo_to_dict(url)["user"]
    owner.execute(f"grant sidecar_worker to {worker}")
    sidecar = AnsweringSidecar(url)
    sidecar.start()
    try:
        owner.execute("select sidecar.embed_text('a')")
    finally:
        sidecar.stop()
    assert sidecar.asked == ["a"]
    with pytest.raises(errors.InsufficientPrivilege):
        connect(url).execute("create table sidecar.mine ()")


def test_sidecar_admin_attaches_its_own_tables(connect: Connect, database: str, role: Role) -> None:
    owner, admin = connect(), connect(role(database))
    name = admin.info.user
    owner.execute(f"create schema theirs authorization {name}")
    admin.execute("create table theirs.t (id int primary key, title text)")
    with pytest.raises(errors.InsufficientPrivilege):
        admin.execute("select sidecar.attach('theirs.t', 'title')")
    owner.execute(f"grant sidecar_admin to {name}")
    admin.execute("select sidecar.attach('theirs.t', 'title')")
    admin.execute("insert into theirs.t values (1, 'a')")
    for call in ("pause", "resume", "retry", "reembed", "detach"):
        admin.execute(f"select sidecar.{call}('theirs.t', 'title')")


def test_an_application_role_inserts_into_an_attached_table_with_no_right_on_the_schema(
    connect: Connect, database: str, role: Role
) -> None:
    owner, application = connect(), connect(role(database))
    owner.execute("create table products (id int primary key, title text)")
    owner.execute("select sidecar.attach('products', 'title')")
    owner.execute(f"grant insert, select, update on products to {application.info.user}")
    application.execute("insert into products values (1, 'a'), (2, 'b')")
    application.execute("update products set title = 'c' where id = 1")
    assert owner.execute("select count(*) from sidecar.pending").fetchone() == (2,)


def test_migrating_again_keeps_what_an_administrator_set_on_the_loopback(
    connect: Connect, database: str, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    connection.execute(
        "alter server sidecar_loopback options (set connect_timeout '2', add host 'localhost')"
    )
    before = connection.execute("select srvoptions from pg_foreign_server").fetchall()
    migrate.upgrade(database)
    migrate.upgrade(database)
    assert connection.execute("select srvoptions from pg_foreign_server").fetchall() == before
    connection.execute("select sidecar.embed_text('a')")
    assert answering_sidecar.asked == ["a"]


def test_the_way_back_leaves_tables_and_vectors_and_nothing_else(
    connect: Connect, empty_database: str
) -> None:
    migrate.upgrade(empty_database)
    connection = connect(empty_database)
    connection.execute("create table t (id int primary key, title text)")
    connection.execute("select sidecar.attach('t', 'title')")
    connection.execute("insert into t values (1, 'a', array_fill(1, array[768])::vector)")
    migrate.downgrade(empty_database)
    assert connection.execute("select vector_norm(title_embedding) > 27 from t").fetchone() == (
        True,
    )
    assert connection.execute(
        "select"
        " (select array_agg(nspname::text) from pg_namespace where nspname !~ '^(pg_|inform)'),"
        " (select array_agg(extname::text order by 1) from pg_extension),"
        " (select count(*) from pg_foreign_server),"
        " (select count(*) from pg_trigger where not tgisinternal),"
        " to_regrole('sidecar_loopback_' || d.oid)"
        " from pg_database d where d.datname = current_database()"
    ).fetchone() == (["public"], ["plpgsql", "vector"], 0, 0, None)
    migrate.upgrade(empty_database)
    connection.execute("select sidecar.attach('t', 'title')")


def test_the_way_back_keeps_a_dblink_that_was_there_before(
    connect: Connect, empty_database: str
) -> None:
    connection = connect(empty_database)
    connection.execute("create extension dblink")
    migrate.upgrade(empty_database)
    migrate.downgrade(empty_database)
    assert connection.execute(
        "select count(*) from pg_extension where extname = 'dblink'"
    ).fetchone() == (1,)
