"""Real processes, really killed: nothing is lost, and nothing waits longer than a lease."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import psycopg
import pytest

from tests.fix_live import SidecarProcess, Start, text_vector, wait_until_quiet
from tests.fix_postgres import Connect

StartProcess = Callable[..., SidecarProcess]


def fill(connection: psycopg.Connection[tuple[object, ...]], rows: int) -> None:
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    connection.execute(
        "insert into note select g, 'a red circle, number ' || g from generate_series(1, %s) g",
        [rows],
    )


@pytest.mark.slow
def test_killed_in_mid_batch_loses_nothing_and_a_second_one_finishes(
    connect: Connect, sidecar_process: StartProcess
) -> None:
    connection = connect()
    fill(connection, 6000)
    first = sidecar_process(SIDECAR_LEASE_SECONDS="2")
    deadline = time.monotonic() + 60
    embedded = 0
    while not 100 < embedded < 5500:
        assert time.monotonic() < deadline, "".join(first.log)
        embedded = connection.execute("select count(body_embedding) from note").fetchone()[0]  # type: ignore[index]
    first.kill()
    leased = connection.execute(
        "select count(*) from sidecar.pending where lease_token is not null"
    ).fetchone()
    assert leased is not None
    assert leased[0] > 0, "it was killed between two batches"
    sidecar_process(SIDECAR_LEASE_SECONDS="2").ready()
    wait_until_quiet(connection, 60)
    assert connection.execute("select count(*), count(body_embedding) from note").fetchone() == (
        6000,
        6000,
    )
    assert connection.execute("select count(*) from sidecar.failure").fetchone() == (0,)


@pytest.mark.slow
def test_sigterm_gives_the_leases_back_and_exits_0(
    connect: Connect, sidecar_process: StartProcess
) -> None:
    connection = connect()
    fill(connection, 6000)
    sidecar = sidecar_process()
    deadline = time.monotonic() + 60
    while connection.execute("select count(body_embedding) > 100 from note").fetchone() != (True,):
        assert time.monotonic() < deadline, "".join(sidecar.log)
    began = time.monotonic()
    assert sidecar.terminate() == 0, "".join(sidecar.log)
    assert time.monotonic() - began < 10
    assert connection.execute(
        "select count(*) from sidecar.pending where lease_token is not null or attempts > 0"
    ).fetchone() == (0,)
    assert connection.execute("select count(*) from sidecar.worker").fetchone() == (0,)


@pytest.mark.slow
def test_a_row_that_kills_sidecars_becomes_a_failure(
    connect: Connect, sidecar_process: StartProcess
) -> None:
    connection = connect()
    fill(connection, 1)
    connection.execute(
        "update sidecar.pending set attempts = 3, lease_token = 1,"
        " lease_until = now() - interval '1 s'"
    )
    sidecar_process(SIDECAR_LEASE_SECONDS="1", SIDECAR_MAX_ATTEMPTS="2").ready()
    wait_until_quiet(connection)
    error, attempts = connection.execute("select error, attempts from sidecar.failure").fetchone()  # type: ignore[misc]
    assert (error, attempts) == ("crashed", 3)
    connection.execute("select sidecar.retry('note', 'body', error => 'crashed')")
    wait_until_quiet(connection)
    assert connection.execute("select body_embedding is not null from note").fetchone() == (True,)


def test_a_slow_sidecars_older_result_never_overwrites_a_newer_one(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body')")
    sidecar = live(lease_seconds=1000.0)
    sidecar.gates.hold("before_write")
    connection.execute("insert into note values (1, 'old')")
    sidecar.gates.wait("before_write")
    # Its lease runs out and it is claimed again; then it changes. Both results are on their way.
    connection.execute("update sidecar.pending set lease_until = now() - interval '1 s'")
    while connection.execute("select attempts from sidecar.pending").fetchone() != (2,):
        time.sleep(0.01)
    connection.execute("update note set body = 'new'")
    sidecar.gates.let_go("before_write")
    wait_until_quiet(connection)
    vector = connection.execute("select body_embedding::real[] from note").fetchone()
    assert vector is not None
    np.testing.assert_allclose(np.float32(vector[0]), text_vector("new"), atol=1e-6)


@pytest.mark.parametrize("point", ["after_claim", "after_load", "before_model", "before_write"])
def test_the_database_cuts_every_connection(connect: Connect, live: Start, point: str) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body')")
    sidecar = live(lease_seconds=2.0)
    sidecar.gates.hold(point)
    connection.execute("insert into note select g, 'note ' || g from generate_series(1, 50) g")
    sidecar.gates.wait(point)
    connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name = 'sidecar'"
    )
    sidecar.gates.let_go(point)
    wait_until_quiet(connection)
    rows = connection.execute("select body, body_embedding::real[] from note").fetchall()
    for body, vector in rows:
        np.testing.assert_allclose(np.float32(vector), text_vector(body), atol=1e-6)
    assert len(rows) == 50
