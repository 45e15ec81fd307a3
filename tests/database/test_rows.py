"""From INSERT to vector, on the real pipeline: whatever is done, the vectors follow."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import psycopg
import pytest

from tests.fix_live import Start, text_vector, wait_until_quiet
from tests.fix_postgres import Connect

pytestmark = [
    pytest.mark.parametrize("database", [16, 18], indirect=True),
    pytest.mark.usefixtures("database"),
]

Connection = psycopg.Connection[Any]
NOTES = "create table note (id bigint generated always as identity primary key, body text)"


def attach_notes(connection: Connection, table: str = NOTES, index: str = "hnsw") -> None:
    connection.execute(table)
    connection.execute("select sidecar.attach('note', 'body', index => %s)", [index])


def assert_right(connection: Connection, table: str = "note", where: str = "true") -> int:
    """Every vector is the one of its current content; returns how many rows there are."""
    rows = connection.execute(
        f"select body, body_embedding::real[] from {table} where {where}"
    ).fetchall()
    for body, vector in rows:
        if body is None or not body.strip():
            assert vector is None
        else:
            assert vector is not None, f"{body[:40]!r} has no vector"
            np.testing.assert_allclose(np.float32(vector), text_vector(body), atol=1e-6)
    return len(rows)


def test_insert_update_and_null_are_followed(connect: Connect, live: Start) -> None:
    connection = connect()
    attach_notes(connection)
    live()
    connection.execute("insert into note (body) values ('one'), ('two'), (null)")
    wait_until_quiet(connection)
    assert assert_right(connection) == 3
    connection.execute("update note set body = 'three' where body = 'one'")
    connection.execute("update note set body = null where body = 'two'")
    wait_until_quiet(connection)
    assert assert_right(connection) == 3


def test_rows_from_before_attach_are_backfilled(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute(NOTES)
    connection.execute(
        "insert into note (body) select 'note ' || g from generate_series(1, 25000) g"
    )
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    assert connection.execute("select count(*) from sidecar.pending").fetchone() == (0,)
    live()
    wait_until_quiet(connection, 60)
    assert assert_right(connection) == 25000


def test_copy_of_20000_rows(connect: Connect, live: Start) -> None:
    connection = connect()
    attach_notes(connection, index="none")
    live()
    with connection.cursor() as cursor, cursor.copy("copy note (body) from stdin") as copy:
        for number in range(20_000):
            copy.write_row([f"copied {number}"])
    wait_until_quiet(connection, 60)
    assert assert_right(connection) == 20_000


def test_a_rolled_back_insert_leaves_nothing(connect: Connect, live: Start) -> None:
    connection = connect()
    attach_notes(connection)
    live()
    with connection.transaction(force_rollback=True):
        connection.execute("insert into note (body) values ('never')")
        assert connection.execute("select count(*) from sidecar.pending").fetchone() == (1,)
    connection.execute("insert into note (body) values ('kept')")
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


def test_on_conflict_do_update(connect: Connect, live: Start) -> None:
    connection = connect()
    attach_notes(connection, "create table note (id bigint primary key, body text)")
    live()
    upsert = (
        "insert into note select g, %s || g from generate_series(1, 50) g"
        " on conflict (id) do update set body = excluded.body"
    )
    for word in ("first ", "second ", "third "):
        connection.execute(upsert, [word])
    wait_until_quiet(connection)
    assert assert_right(connection) == 50


def test_another_columns_update_queues_nothing(connect: Connect, live: Start) -> None:
    connection = connect()
    attach_notes(connection, "create table note (id int primary key, body text, price int)")
    connection.execute("insert into note values (1, 'one', 1)")
    sidecar = live()
    wait_until_quiet(connection)
    asked = sidecar.encoder.asked
    connection.execute("update note set price = 2")
    connection.execute("update note set body = body")
    assert connection.execute("select count(*) from sidecar.pending").fetchone() == (0,)
    assert sidecar.encoder.asked == asked


def test_update_during_inference_keeps_the_row_queued(connect: Connect, live: Start) -> None:
    connection = connect()
    attach_notes(connection)
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into note (body) values ('old')")
    sidecar.gates.wait("before_write")
    connection.execute("update note set body = 'new'")
    assert connection.execute("select generation from sidecar.pending").fetchone() == (2,)
    sidecar.gates.let_go("before_write")
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


def test_delete_during_inference_leaves_nothing(connect: Connect, live: Start) -> None:
    connection = connect()
    attach_notes(connection)
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into note (body) values ('gone'), ('stays')")
    sidecar.gates.wait("before_write")
    connection.execute("delete from note where body = 'gone'")
    sidecar.gates.let_go("before_write")
    wait_until_quiet(connection)
    assert assert_right(connection) == 1
    assert connection.execute("select count(*) from sidecar.failure").fetchone() == (0,)


def test_delete_and_insert_of_the_same_key_during_inference(connect: Connect, live: Start) -> None:
    connection = connect()
    attach_notes(connection, "create table note (id int primary key, body text)")
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into note values (1, 'old')")
    sidecar.gates.wait("before_write")
    connection.execute("delete from note")
    connection.execute("insert into note values (1, 'new')")
    sidecar.gates.let_go("before_write")
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


def test_a_row_that_the_application_holds_holds_no_other_up(connect: Connect, live: Start) -> None:
    connection, application = connect(), connect()
    attach_notes(connection)
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into note (body) values ('held'), ('free')")
    sidecar.gates.wait("before_write")
    with application.transaction():
        application.execute("update note set body = 'changed' where body = 'held'")
        sidecar.gates.let_go("before_write")
        deadline = threading.Event()
        for _ in range(200):
            if connection.execute(
                "select body_embedding is not null from note where body = 'free'"
            ).fetchone() == (True,):
                break
            deadline.wait(0.02)
        assert assert_right(connection, where="body = 'free'") == 1
    wait_until_quiet(connection)
    assert assert_right(connection) == 2


def test_truncate_clears_the_queue(connect: Connect) -> None:
    connection = connect()
    attach_notes(connection)
    connection.execute("insert into note (body) values ('one')")
    connection.execute("truncate note")
    assert connection.execute("select count(*) from sidecar.pending").fetchone() == (0,)


def test_key_change_is_followed(connect: Connect, live: Start) -> None:
    connection = connect()
    attach_notes(connection, "create table note (id int primary key, body text)")
    connection.execute("insert into note values (1, 'one')")
    connection.execute("update note set id = 2")
    live()
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


def test_concurrent_writers_and_two_sidecars(connect: Connect, live: Start, database: str) -> None:
    connection = connect()
    attach_notes(connection, "create table note (id int primary key, body text)")
    connection.execute("insert into note select g, 'start ' || g from generate_series(1, 200) g")
    live(text_batch_size=16)
    live(text_batch_size=16)
    errors: list[Exception] = []

    def write(writer: int) -> None:
        random = np.random.default_rng(writer)
        try:
            with psycopg.connect(database) as own:
                for step in range(150):
                    row = int(random.integers(1, 260))
                    match int(random.integers(0, 4)):
                        case 0:
                            own.execute("delete from note where id = %s", [row])
                        case 1:
                            own.execute(
                                "update note set body = %s where id = %s",
                                [f"{writer}/{step}", row],
                            )
                        case _:
                            own.execute(
                                "insert into note values (%s, %s)"
                                " on conflict (id) do update set body = excluded.body",
                                [row, f"{writer}:{step}"],
                            )
                    if random.integers(0, 6) == 0:
                        own.rollback()
                    else:
                        own.commit()
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert not errors
    wait_until_quiet(connection)
    assert assert_right(connection) > 100
    assert connection.execute("select count(*) from sidecar.failure").fetchone() == (0,)
