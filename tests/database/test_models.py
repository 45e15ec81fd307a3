"""Which model fills which column: vectors of two models never mix unasked."""

from __future__ import annotations

import logging

import pytest

from sidecar.errors import ServiceFault
from sidecar.settings import Settings
from tests.database.test_attached_tables import wait_for
from tests.fix_live import HashEncoder, LiveSidecar, Start, wait_until_quiet
from tests.fix_postgres import Connect

NOTE = "create table note (id int primary key, body text)"


def encoder(name: str) -> HashEncoder:
    other = HashEncoder()
    other.name = name
    return other


def test_the_first_sidecar_takes_up_what_was_attached_before_it(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body')")
    assert connection.execute("select model from sidecar.attachment").fetchone() == (None,)
    connection.execute("insert into note values (1, 'one')")
    live()
    wait_until_quiet(connection)
    assert connection.execute("select model from sidecar.attachment").fetchone() == ("hash",)
    assert connection.execute("select name, serving from sidecar.model").fetchall() == [
        ("hash", True)
    ]


def test_another_model_leaves_the_column_alone_until_reembed(
    connect: Connect, live: Start, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("insert into note values (1, 'one')")
    connection.execute("select sidecar.attach('note', 'body')")
    live().stop()
    with caplog.at_level(logging.WARNING, "sidecar.service"):
        other = LiveSidecar(database, Settings(), encoder("other")).start()
    try:
        mends = [getattr(record, "mend", "") for record in caplog.records]
        assert "select sidecar.reembed('public.note', 'body')" in mends
        connection.execute("insert into note values (2, 'two')")
        connection.execute("select pg_sleep(0.5)")
        assert connection.execute("select count(*) from sidecar.pending").fetchone() == (1,)
        assert other.encoder.asked == 0
        connection.execute("select sidecar.reembed('note', 'body')")
        wait_until_quiet(connection)
        assert other.encoder.asked >= 2
        assert connection.execute("select model from sidecar.attachment").fetchone() == ("other",)
    finally:
        other.stop()


def test_a_column_of_another_width_is_left_alone_and_the_others_are_served(
    connect: Connect, live: Start, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect()
    connection.execute("insert into sidecar.model (name, width) values ('hash', 512)")
    for table in ("note", "other"):
        connection.execute(NOTE.replace("note", table))
    connection.execute("select sidecar.attach('note', 'body', model => 'hash')")
    connection.execute("update sidecar.model set width = 768")
    connection.execute("select sidecar.attach('other', 'body', model => 'hash')")
    for table in ("note", "other"):
        connection.execute(f"insert into {table} values (1, 'one')")
    with caplog.at_level(logging.WARNING, "sidecar.upkeep"):
        live()
        wait_for(connection, "select body_embedding is not null from other")
    assert connection.execute("select attempts from sidecar.pending").fetchall() in ([(0,)], [(1,)])
    assert connection.execute("select count(*) from sidecar.failure").fetchone() == (0,)
    findings = [getattr(record, "finding", "") for record in caplog.records]
    assert any("vector(512)" in finding for finding in findings)


def test_a_database_without_the_schema_stops_the_start(empty_database: str) -> None:
    with pytest.raises((AssertionError, ServiceFault), match="sidecar migrate"):
        LiveSidecar(empty_database, Settings()).start()
