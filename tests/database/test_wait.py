"""sidecar.wait as read-your-writes: who inserts, waits and searches always finds the own row."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.database.test_attached_tables import NOTE, scalar
from tests.fix_live import Start
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]
ISOLATION = psycopg.IsolationLevel


def prepare(connection: Connection, live: Start) -> None:
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    live()


def finds(connection: Connection, text: str) -> bool:
    """Whether the row nearest to the text is the one that holds it."""
    row = connection.execute(
        "select (item).body, distance from sidecar.search(NULL::note, %s::text, k => 1)", [text]
    ).fetchone()
    return row is not None and row[0] == text and row[1] < 1e-6


@pytest.mark.parametrize("isolation", [ISOLATION.READ_COMMITTED, ISOLATION.REPEATABLE_READ])
def test_who_inserts_waits_and_searches_finds_the_own_row(
    connect: Connect, live: Start, isolation: psycopg.IsolationLevel
) -> None:
    prepare(connect(), live)
    missed: list[str] = []

    def write(writer: int, connection: Connection) -> None:
        connection.execute(
            f"set default_transaction_isolation = '{isolation.name.replace('_', ' ')}'"
        )
        for number in range(8):
            text = f"writer {writer} text {number}"
            with connection.transaction():
                connection.execute(
                    "insert into note values (%s, %s)", [writer * 100 + number, text]
                )
            connection.execute("call sidecar.wait('note', 'body')")
            if not finds(connection, text):
                missed.append(text)
            changed = text + " changed"
            connection.execute(
                "update note set body = %s where id = %s", [changed, writer * 100 + number]
            )
            connection.execute("call sidecar.wait('note')")
            if not finds(connection, changed):
                missed.append(changed)

    threads = [threading.Thread(target=write, args=[n, connect()]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missed == []


def test_a_snapshot_from_before_does_not_see_the_vector_and_a_new_one_does(
    connect: Connect, live: Start
) -> None:
    connection, reader = connect(), connect()
    prepare(connection, live)
    reader.isolation_level = ISOLATION.REPEATABLE_READ
    with reader.transaction():
        reader.execute("select 1 from note")
        connection.execute("insert into note values (1, 'mine')")
        connection.execute("call sidecar.wait('note', 'body')")
        assert scalar(reader, "select count(*) from note") == 0
    assert finds(reader, "mine")


def test_inside_a_transaction_block_it_says_so(connect: Connect, live: Start) -> None:
    connection = connect()
    prepare(connection, live)
    for isolation in (None, ISOLATION.REPEATABLE_READ):
        connection.isolation_level = isolation
        with connection.transaction(force_rollback=True):
            connection.execute("insert into note values (1, 'one')")
            with pytest.raises(errors.ActiveSqlTransaction) as raised:
                connection.execute("call sidecar.wait('note', 'body')")
        assert "COMMIT first" in (raised.value.diag.message_hint or "")


def test_it_returns_when_rows_fail(connect: Connect, live: Start) -> None:
    connection = connect()
    prepare(connection, live)
    connection.execute("insert into note values (1, ' '), (2, 'two')")
    connection.execute("call sidecar.wait('note', 'body')")
    assert connection.execute("select key, error from sidecar.failures").fetchall() == [
        ([1], "text_empty")
    ]
    assert finds(connection, "two")


def test_the_timeout_names_the_next_step(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body')")
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into note values (1, 'one')")
    with pytest.raises(errors.QueryCanceled) as raised:
        connection.execute("call sidecar.wait('note', 'body', timeout => '100ms')")
    assert "1 rows of public.note are still pending" in str(raised.value)
    assert "sidecar.status" in (raised.value.diag.message_hint or "")
    sidecar.gates.let_go("before_write")
    connection.execute("call sidecar.wait('note', 'body')")
    assert finds(connection, "one")


def test_rows_that_come_later_do_not_hold_it_up(connect: Connect, live: Start) -> None:
    connection, other = connect(), connect()
    prepare(connection, live)
    connection.execute("insert into note values (1, 'one')")
    stop = threading.Event()

    def keep_writing() -> None:
        number = 10
        while not stop.is_set():
            number += 1
            other.execute("insert into note values (%s, %s)", [number, f"other {number}"])

    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        for number in range(2, 6):
            connection.execute("insert into note values (%s, %s)", [number, f"mine {number}"])
            connection.execute("call sidecar.wait('note', 'body')")
            assert scalar(
                connection, f"select body_embedding is not null from note where id = {number}"
            )
    finally:
        stop.set()
        thread.join()


def test_who_may_not_read_the_table_is_told_instead_of_let_through(
    connect: Connect, live: Start, database: str, role: Callable[..., str]
) -> None:
    connection = connect()
    prepare(connection, live)
    writer = connect(role(database))
    connection.execute(f"grant sidecar_user to {writer.info.user}".encode())
    connection.execute(f"grant insert, select (id) on note to {writer.info.user}".encode())
    writer.execute("insert into note values (1, 'one')")
    with pytest.raises(errors.InsufficientPrivilege) as raised:
        writer.execute("call sidecar.wait('note', 'body')")
    hint = raised.value.diag.message_hint or ""
    connection.execute(hint[hint.index("GRANT") :].encode())
    writer.execute("call sidecar.wait('note', 'body')")
    assert scalar(connection, "select body_embedding is not null from note")
