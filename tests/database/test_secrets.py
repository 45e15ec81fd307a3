"""What nobody else may see: questions, in logs and tables; rows, through views and functions."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

from sidecar.embedded import Server
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect, Connection

Role = Callable[..., str]


def asked(secret: str) -> list[str]:
    """Every way to ask, with the question written into the statement."""
    return [
        f"select sidecar.embed_text('{secret}')",
        f"select sidecar.embed_text(array['{secret}', 'x'])",
        f"select sidecar.embed_image('{secret}'::bytea)",
        f"call sidecar.embed('{secret}', null)",
        f"call sidecar.embed('{secret}'::bytea, null)",
        f"call sidecar.embed_many(array['{secret}'], null)",
        f"select (item).id from sidecar.search(NULL::note, '{secret}')",
    ]


def fails(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        with pytest.raises(psycopg.Error) as raised:
            connection.execute(statement)
        assert not isinstance(raised.value, errors.SyntaxErrorOrAccessRuleViolation)


def terminate_loopback(connection: Connection) -> None:
    """Ends the server process that works on a question."""
    deadline = time.monotonic() + 20
    while not connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'sidecar loopback' and datname = current_database()"
        " and state = 'active'"
    ).fetchall():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_questions_are_in_no_log_however_they_end(
    connect: Connect,
    postgres: Server,
    role: Role,
    database: str,
) -> None:
    owner, application = connect(), connect(role(database))
    owner.execute("create table note (id int primary key, body text)")
    owner.execute("select sidecar.attach('note', 'body')")
    owner.execute(f"grant sidecar_user to {application.info.user}")
    owner.execute(f"grant select on note to {application.info.user}")
    secret = f"secret {secrets.token_hex(8)}"
    questions = asked(secret)

    owner.execute(  # a sidecar that lives, and answers nothing
        "insert into sidecar.model (name, width, serving) values ('hash', 768, true);"
        "insert into sidecar.worker (id, host, pid, device, model, version, last_heartbeat)"
        " values (gen_random_uuid(), '', 1, '', 'hash', '', now() + interval '1 hour')"
    )
    application.execute("set sidecar.request_timeout = '50ms'")
    fails(application, questions)
    application.execute("set sidecar.request_timeout = '20s'")
    application.execute("set statement_timeout = '100ms'")
    fails(application, questions)
    application.execute("set statement_timeout = 0")
    cutting = threading.Thread(target=terminate_loopback, args=[owner])
    cutting.start()
    owner_sees = connect()
    application.execute("set sidecar.request_timeout = '2s'")
    fails(application, questions[:1])
    cutting.join()
    assert owner_sees.execute("select count(*) > 0 from sidecar.request").fetchone() == (True,)
    owner.execute("alter server sidecar_loopback options (add port '1')")
    fails(connect_as(connect, application), questions[:1])
    owner.execute("alter server sidecar_loopback options (drop port)")
    owner.execute("delete from sidecar.worker; alter table sidecar.worker rename to gone")
    fails(application, questions[:3])
    owner.execute("alter table sidecar.gone rename to worker")
    fails(application, questions)

    log = (postgres.cluster.data / "log").read_text(errors="replace")
    assert "no sidecar is running" in log
    assert "the sidecar did not answer within" in log
    assert "canceling statement due to statement timeout" in log
    assert [line for line in log.splitlines() if secret in line] == []


def connect_as(connect: Connect, other: Connection) -> Connection:
    """Another session of the same role."""
    return connect(psycopg.conninfo.make_conninfo(other.info.dsn, password=other.info.password))


def test_the_sidecars_log_holds_neither_questions_nor_contents(
    connect: Connect, live: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    secret = f"secret {secrets.token_hex(8)}"
    owner = connect()
    owner.execute("create table note (id int primary key, body text)")
    owner.execute("select sidecar.attach('note', 'body', index => 'none')")
    owner.execute(
        "alter table note add constraint refused"
        " check (id <> 2 or body_embedding is null) not valid"
    )
    sidecar = live(max_attempts=1)

    def refuse(tensors: object) -> None:
        if "asked" in str(bytes(tensors[0].tolist())):  # type: ignore[index]
            raise RuntimeError("no kernel image is available")

    sidecar.encoder.fails = refuse
    owner.execute(f"insert into note values (1, '{secret}'), (2, '{secret} too'), (3, ' ')")
    wait_until_quiet(owner)
    assert owner.execute("select count(*) from sidecar.failure").fetchone() == (2,)
    with pytest.raises(psycopg.Error):
        owner.execute(f"select sidecar.embed_text('asked {secret}')")
    owner.execute(f"select sidecar.embed_text('{secret}')")
    assert "row_failed" in caplog.text
    shown = [str(vars(record)) for record in caplog.records if record.name.startswith("sidecar")]
    assert [line for line in shown if secret in line] == []


def test_what_a_role_may_not_read_it_sees_through_no_view_and_no_function(
    connect: Connect, database: str, role: Role, live: Start
) -> None:
    owner, stranger = connect(), connect(role(database))
    name = stranger.info.user
    owner.execute(f"grant sidecar_user to {name}")
    owner.execute("create table note (id text primary key, body text)")
    owner.execute("select sidecar.attach('note', 'body')")
    live()
    owner.execute("insert into note values ('key one', 'one'), ('key two', ' ')")
    wait_until_quiet(owner)
    owner.execute("select sidecar.pause('note', 'body')")
    owner.execute("insert into note values ('key three', 'three')")
    for view in ("status", "failures", "queue", "own_pending", "own_failure"):
        assert stranger.execute(f"select * from sidecar.{view}").fetchall() == []
    # A function that is cheap comes first where a view lets it.
    stranger.execute(
        "create function pg_temp.look(anyelement) returns boolean cost 0.0000001 language plpgsql"
        " as 'begin raise notice ''%', $1; return true; end'".replace("%'", "%''")
    )
    told: list[str] = []
    stranger.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    for view, column in (("failures", "key"), ("queue", "key"), ("own_pending", "key")):
        stranger.execute(f"select * from sidecar.{view} where pg_temp.look({column})")
    assert told == []
    assert not any("note" in str(row) for row in stranger.execute("select * from sidecar.doctor()"))
    for attempt in (
        "select * from sidecar.search(NULL::note, 'one')",
        "select * from sidecar.search(NULL::note, array_fill(1, array[768])::vector)",
        "select * from sidecar.similar(NULL::note, '[\"key one\"]')",
        "select * from sidecar.explain('note', 'body', '[\"key one\"]')",
        "select * from sidecar.count_rows('note', 'note', 3::smallint)",
        "select sidecar.has_rows('note')",
        "select sidecar.install_trigger_functions(1)",
        "select sidecar.drop_trigger_functions(1)",
        *(f"select * from sidecar.{t}" for t in ("pending", "failure", "request", "vector_cache")),
        "update sidecar.attachment set paused = false",
        "insert into sidecar.own_pending (attachment, key) values (1, '[]')",
        "delete from sidecar.own_failure",
        "select sidecar.pause('note', 'body')",
        "select sidecar.retry('note', 'body')",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            stranger.execute(attempt)


def test_row_level_security_hides_keys_and_messages_too(
    connect: Connect, database: str, role: Role, live: Start
) -> None:
    owner, reader = connect(), connect(role(database))
    name = reader.info.user
    owner.execute(f"grant sidecar_user to {name}")
    owner.execute(
        "create table note (id int primary key, holder text, body text);"
        "alter table note enable row level security;"
        "create policy own on note using (holder = current_user);"
        f"grant select on note to {name}"
    )
    owner.execute("select sidecar.attach('note', 'body')")
    live()
    owner.execute(f"insert into note values (1, '{name}', 'mine'), (2, 'x', 'x'), (3, 'x', ' ')")
    wait_until_quiet(owner)
    look = "select state from sidecar.explain('note', 'body', %s)"
    assert reader.execute("select key, message, error from sidecar.failures").fetchall() == [
        (None, None, "text_empty")
    ]
    assert reader.execute(look, ["[1]"]).fetchall() == [("pending",)]
    assert reader.execute(look, ["[2]"]).fetchall() == [("skipped",)]
    owner.execute("delete from sidecar.failure")
    assert reader.execute(look, ["[1]"]).fetchall() == [("current",)]
    assert reader.execute("select rows, embedded from sidecar.status").fetchall() == [(1, 1)]
    assert reader.execute("select (item).id from sidecar.search(NULL::note, 'x')").fetchall() == [
        (1,)
    ]
    with pytest.raises(errors.NoDataFound):
        reader.execute("select * from sidecar.similar(NULL::note, '[2]')")
    owner.execute("select sidecar.pause('note', 'body')")
    owner.execute("update note set body = 'y' where id = 2")
    assert reader.execute("select key, lane from sidecar.queue").fetchall() == [(None, "fresh")]
    assert owner.execute("select key from sidecar.queue").fetchall() == [([2],)]
