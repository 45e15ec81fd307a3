"""The schema is upgraded, taken away and brought back while a sidecar runs and rows flow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from sidecar import migrate
from tests.database.test_attached_tables import NOTE, scalar, wait_for
from tests.database.test_rows import assert_right
from tests.fix_live import SidecarProcess, Start, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]


def attached(connection: Connection, rows: int = 0) -> None:
    connection.execute(NOTE.encode())
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    connection.execute("insert into note select g, 'n' || g from generate_series(1, %s) g", [rows])


@contextmanager
def rows_flow(connection: Connection) -> Iterator[list[BaseException]]:
    """An application that inserts and changes rows meanwhile; its errors."""
    stop = threading.Event()
    trouble: list[BaseException] = []

    def write() -> None:
        number = 1000
        while not stop.is_set():
            number += 1
            try:
                connection.execute("insert into note values (%s, %s)", [number, f"new {number}"])
                connection.execute(
                    "update note set body = body || '!' where id %% 10 = %s", [number % 10]
                )
            except psycopg.Error as error:
                trouble.append(error)
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield trouble
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_functions_are_renewed_while_rows_flow(
    connect: Connect, live: Start, database: str
) -> None:
    connection = connect()
    attached(connection, 50)
    sidecar = live(sweep_seconds=1)
    with rows_flow(connect()) as trouble:
        for _ in range(4):
            migrate.upgrade(database)
    assert not trouble
    assert sidecar.failure is None
    wait_until_quiet(connection)
    assert assert_right(connection) > 50
    assert scalar(connection, "select count(*) from sidecar.failure") == 0


def test_an_upgrade_takes_no_lock_on_an_attached_table(
    connect: Connect, live: Start, database: str
) -> None:
    connection = connect()
    attached(connection, 3)
    live()
    wait_until_quiet(connection)
    with connect() as application, application.transaction():
        application.execute("lock table note in access exclusive mode")
        application.execute("insert into note values (10, 'ten')")
        migrate.upgrade(database)
    wait_until_quiet(connection)
    assert assert_right(connection) == 4


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_the_schema_goes_and_comes_back_under_a_running_sidecar(
    connect: Connect, live: Start, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect()
    attached(connection, 50)
    sidecar = live(lease_seconds=1, sweep_seconds=1)
    wait_until_quiet(connection)
    sidecar.gates.hold("before_write")
    connection.execute("insert into note values (60, 'in hand')")
    sidecar.gates.wait("before_write")
    with rows_flow(connect()) as trouble:
        migrate.downgrade(database)
        sidecar.gates.let_go("before_write")
        deadline = time.monotonic() + 20
        while "schema_gone" not in caplog.messages:
            assert time.monotonic() < deadline, caplog.messages
            assert sidecar.failure is None
            time.sleep(0.05)
        time.sleep(2.5)  # every task of the sidecar meets it
    assert not trouble
    assert sidecar.failure is None
    [said] = {r.__dict__["mend"] for r in caplog.records if r.message == "schema_gone"}
    assert said == "sidecar migrate"
    migrate.upgrade(database)
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    connection.execute("insert into note values (61, 'after')")
    wait_until_quiet(connection)
    assert assert_right(connection) > 51
    wait_for(connection, "select count(*) = 1 from sidecar.workers")
    connection.execute("call sidecar.embed('a question', null)")


def test_a_sidecar_stops_in_peace_without_its_schema(
    connect: Connect, sidecar_process: Callable[..., SidecarProcess], database: str
) -> None:
    connection = connect()
    attached(connection, 3)
    sidecar = sidecar_process().ready()
    wait_until_quiet(connection)
    migrate.downgrade(database)
    deadline = time.monotonic() + 20
    while not any("schema_gone" in line for line in sidecar.log):
        assert time.monotonic() < deadline, "".join(sidecar.log)
        time.sleep(0.05)
    assert sidecar.terminate() == 0, "".join(sidecar.log)
    assert "Traceback" not in "".join(sidecar.log)
