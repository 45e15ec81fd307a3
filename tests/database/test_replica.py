"""A read replica answers questions and searches, and goes on when it becomes the primary."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from psycopg import errors

from sidecar.settings import Settings
from tests.fix_live import LiveSidecar, text_vector, wait_until_quiet
from tests.fix_postgres import Connect, Connection
from tests.fix_replica import Pair


def vector(connection: Connection, query: str) -> list[float]:
    """The vector that a query returns."""
    row = connection.execute(f"select ({query})::real[]").fetchone()
    assert row is not None
    return list(row[0])


def same(vector: list[float], text: str) -> bool:
    return all(abs(a - b) < 1e-6 for a, b in zip(vector, text_vector(text), strict=True))


@pytest.fixture
def sidecar(replicated: Pair) -> Iterator[LiveSidecar]:
    """Works on the primary."""
    running = LiveSidecar(replicated.primary.url, Settings()).start()
    yield running
    running.stop()


def fill(connection: Connection) -> None:
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body')")
    connection.execute("insert into note values (1, 'one'), (2, 'two'), (3, 'three')")
    wait_until_quiet(connection)


def test_questions_and_searches_are_answered_on_a_standby(
    connect: Connect, replicated: Pair, sidecar: LiveSidecar
) -> None:
    fill(connect(replicated.primary.url))
    replicated.point_loopback()
    standby = connect(replicated.standby.url)
    assert standby.execute("select pg_is_in_recovery()").fetchone() == (True,)

    assert same(vector(standby, "sidecar.embed_text('asked there')"), "asked there")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "png")
    assert standby.execute(
        "select sidecar.embed_image(%s) is not null", [picture.getvalue()]
    ).fetchone() == (True,)
    for search in (
        "select (item).id from sidecar.search(NULL::note, 'two', k => 1)",
        "select id from note order by body_embedding <=> sidecar.embed_text('two') limit 1",
    ):
        assert standby.execute(search).fetchall() == [(2,)]
    assert standby.execute(
        "select count(*) from sidecar.similar(NULL::note, '[2]', k => 5)"
    ).fetchone() == (2,)
    with standby.transaction():
        standby.execute("set transaction isolation level repeatable read")
        assert same(vector(standby, "sidecar.embed_text('in a transaction')"), "in a transaction")

    # The answer was kept on the primary, and comes back with the rest of the data.
    asked = sidecar.encoder.asked
    replicated.catch_up()
    again = connect(replicated.standby.url)
    assert same(vector(again, "sidecar.embed_text('asked there')"), "asked there")
    again.execute("call sidecar.embed('asked there', null)")
    assert sidecar.encoder.asked == asked
    assert again.execute("select dblink_get_connections()").fetchone() == (None,)

    assert again.execute(
        "select rows, embedded, pending, failed from sidecar.status"
    ).fetchall() == [(3, 3, 0, 0)]
    assert again.execute("select state from sidecar.explain('note', 'body', '[1]')").fetchall() == [
        ("current",)
    ]
    assert again.execute("select finding from sidecar.doctor()").fetchall() == []


def test_a_standby_says_how_it_is_pointed_to_the_primary(
    connect: Connect, replicated: Pair, sidecar: LiveSidecar
) -> None:
    standby = connect(replicated.standby.url)
    with pytest.raises(errors.ReadOnlySqlTransaction) as raised:
        standby.execute("select sidecar.embed_text('a')")
    assert "ALTER SERVER sidecar_loopback OPTIONS" in (raised.value.diag.message_hint or "")
    with pytest.raises(errors.ReadOnlySqlTransaction):
        standby.execute("call sidecar.embed('a', null)")
    replicated.point_loopback()
    assert same(vector(standby, "sidecar.embed_text('a')"), "a")


def test_a_promoted_standby_goes_on_by_itself(
    connect: Connect, replicated: Pair, sidecar: LiveSidecar, caplog: pytest.LogCaptureFixture
) -> None:
    fill(connect(replicated.primary.url))
    replicated.point_loopback()
    session = connect(replicated.standby.url)
    session.execute("select sidecar.embed_text('keeps a connection to the old primary')")
    waiting = LiveSidecar(replicated.standby.url, Settings())
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(waiting.start)
        wait_for_words(caplog, "read-only transaction")
        assert not started.done()
        sidecar.stop()
        replicated.catch_up()
        replicated.promote()
        started.result(60)
    try:
        assert same(vector(session, "sidecar.embed_text('a new question')"), "a new question")
        session.execute("insert into note values (4, 'four')")
        session.execute("call sidecar.wait('note', 'body')")
        assert same(vector(session, "select body_embedding from note where id = 4"), "four")
        assert same(vector(session, "select body_embedding from note where id = 1"), "one")
        assert session.execute(
            "select (item).id from sidecar.search(NULL::note, 'four', k => 1)"
        ).fetchall() == [(4,)]
    finally:
        waiting.stop()


def wait_for_words(caplog: pytest.LogCaptureFixture, words: str) -> None:
    deadline = time.monotonic() + 30
    while not any(
        words in str(vars(record).get("error"))
        for record in caplog.records
        if record.levelno >= logging.WARNING
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
