"""The sidecar behind PgBouncer in transaction mode: Debian 12's knows no prepared statements."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest

from sidecar import migrate
from sidecar.sessions import SESSION
from tests.fix_live import Start, text_vector, wait_until_quiet
from tests.fix_pgbouncer import StartPooler
from tests.fix_postgres import Connect


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as a warning or worse."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def vector(connection: psycopg.Connection[Any], query: str) -> list[float]:
    """The vector that a query returns."""
    row = connection.execute(f"select ({query})::real[]").fetchone()
    assert row is not None
    return list(row[0])


def same(vector: list[float], text: str) -> bool:
    """Whether it is the encoder's vector of the text."""
    return all(abs(a - b) < 1e-6 for a, b in zip(vector, text_vector(text), strict=True))


def wait_for_event(caplog: pytest.LogCaptureFixture, event: str) -> None:
    deadline = time.monotonic() + 30
    while event not in events(caplog):
        assert time.monotonic() < deadline, events(caplog)
        time.sleep(0.05)


def test_rows_are_embedded_and_questions_answered_by_polling_with_one_warning(
    connect: Connect, pooler: StartPooler, live: Start, caplog: pytest.LogCaptureFixture
) -> None:
    owner, through = connect(), pooler()
    owner.execute("create table note (id int primary key, body text)")
    owner.execute("select sidecar.attach('note', 'body', index => 'none')")
    owner.execute("insert into note select n, 'before ' || n from generate_series(1, 300) n")
    live(through.url(), text_batch_size=32)
    wait_until_quiet(owner)
    wait_for_event(caplog, "deaf")

    application = connect(through.url(), prepare_threshold=None)
    application.execute("insert into note values (301, 'after')")
    application.execute("call sidecar.wait('note', 'body')")
    assert same(vector(owner, "select body_embedding from note where id = 301"), "after")
    assert same(vector(application, "sidecar.embed_text('a question')"), "a question")
    assert same(vector(owner, "sidecar.embed_text('another')"), "another")
    row = application.execute("call sidecar.embed('a third', null)").fetchone()
    assert row is not None
    assert owner.execute("select body_embedding is null from note group by 1").fetchall() == [
        (False,)
    ]
    assert events(caplog) == ["deaf"]
    assert "DATABASE_DIRECT_URL" in next(
        str(vars(r)["mend"]) for r in caplog.records if r.getMessage() == "deaf"
    )


def test_with_a_direct_address_it_is_rung_and_builds_indexes(
    connect: Connect,
    database: str,
    pooler: StartPooler,
    live: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner, through = connect(), pooler()
    owner.execute("create table note (id int primary key, body text)")
    owner.execute("insert into note values (1, 'before')")
    owner.execute("select sidecar.attach('note', 'body')")
    live(through.url(), database_direct_url=database)
    wait_until_quiet(owner)
    deadline = time.monotonic() + 30
    while not owner.execute("select 1 from pg_indexes where indexdef ~ 'hnsw'").fetchone():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert same(vector(owner, "sidecar.embed_text('a question')"), "a question")
    listening = owner.execute(
        "select w.backend_pid = a.pid from sidecar.worker w, pg_stat_activity a"
        " where a.query ~* 'listen|pg_backend_pid' and a.pid = w.backend_pid"
    ).fetchall()
    assert listening == [(True,)]
    assert events(caplog) == []


def test_it_leaves_nothing_in_sessions_that_others_use_next(
    connect: Connect, pooler: StartPooler, live: Start
) -> None:
    owner, through = connect(), pooler(more="default_pool_size = 2")
    application = connect(through.url(), prepare_threshold=None)
    looks = (
        "select pg_backend_pid(), current_setting('enable_seqscan'), current_setting('jit'),"
        " current_setting('row_security'), current_setting('search_path'),"
        " current_setting('synchronous_commit'),"
        " coalesce(current_setting('sidecar.loopback_password', true), ''),"
        " (select count(*) from pg_prepared_statements),"
        " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())"
    )
    fresh = owner.execute(looks).fetchone()
    assert fresh is not None
    owner.execute("create table note (id int primary key, body text)")
    owner.execute("insert into note values (1, 'before')")
    owner.execute("select sidecar.attach('note', 'body')")
    live(through.url())
    wait_until_quiet(owner)
    migrate.upgrade(through.url())
    seen: dict[int, tuple[object, ...]] = {}
    deadline = time.monotonic() + 20
    while len(seen) < 2 and time.monotonic() < deadline:
        row = application.execute(looks).fetchone()
        assert row is not None
        seen[row[0]] = row[1:]
    assert set(seen.values()) == {fresh[1:]}


def test_a_pooler_that_swallows_the_settings_is_known_all_the_same(
    connect: Connect, pooler: StartPooler, live: Start, caplog: pytest.LogCaptureFixture
) -> None:
    swallowed = ", ".join(SESSION)
    owner, through = connect(), pooler(more=f"ignore_startup_parameters = {swallowed}")
    owner.execute("create table event (day date primary key, body text)")
    owner.execute("select sidecar.attach('event', 'body', index => 'none')")
    live(through.url())
    application = connect(through.url(), prepare_threshold=None)
    application.execute("set datestyle = 'German'")
    application.execute("insert into event values ('2026-02-01', 'x')")
    wait_until_quiet(owner)
    assert same(vector(owner, "select body_embedding from event"), "x")
    wait_for_event(caplog, "deaf")
    assert events(caplog) == ["deaf"]


def test_a_sidecar_survives_a_restart_of_the_pooler(
    connect: Connect, pooler: StartPooler, live: Start
) -> None:
    owner, through = connect(), pooler()
    owner.execute("create table note (id int primary key, body text)")
    owner.execute("select sidecar.attach('note', 'body', index => 'none')")
    live(through.url())
    owner.execute("insert into note values (1, 'before')")
    wait_until_quiet(owner)
    through.restart()
    owner.execute("insert into note values (2, 'after')")
    wait_until_quiet(owner)
    assert same(vector(owner, "select body_embedding from note where id = 2"), "after")


def test_the_commands_work_through_it(
    connect: Connect,
    empty_database: str,
    pooler: StartPooler,
    live: Start,
) -> None:
    through = pooler(url=empty_database).url()
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "migrate", "--database-url", through],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    owner = connect(empty_database)
    owner.execute("create table note (id int primary key, body text)")
    owner.execute("select sidecar.attach('note', 'body', index => 'none')")
    owner.execute("insert into note values (1, 'a red circle')")
    live(through)
    wait_until_quiet(owner)
    assert owner.execute("select body_embedding is not null from note").fetchone() == (True,)
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "status", "--no-watch", "--database-url", through],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
