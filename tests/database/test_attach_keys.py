"""Primary keys of every type, whatever the settings of the session that writes."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]

KEYS = {
    "smallint": ("smallint", ["1", "-32768"]),
    "bigint": ("bigint", ["9223372036854775807", "-1"]),
    "numeric": ("numeric", ["1.50", "1e100", "'NaN'", "-0.000000000000000000001"]),
    "text": ("text", ["''", "'a b'", "'ключ \"quoted\" 🔑 \\'", "'[1]'"]),
    "text in another collation": ('text collate "C"', ["'a'", "'B'", "'ä'"]),
    "varchar(20)": ("varchar(20)", ["'a'", "'b  '"]),
    "char(10)": ("char(10)", ["'a'", "'b c'", "''"]),
    "boolean": ("boolean", ["true", "false"]),
    "uuid": ("uuid", ["'7cc7f0ac-04ba-4b5a-8c41-0d1c4bd0a3f0'"]),
    "date": ("date", ["'2026-03-04'", "'infinity'", "'0044-03-15 BC'"]),
    "timestamptz": ("timestamptz", ["'2026-03-29 02:30:00+01'", "'2026-10-25 02:30:00.123456+00'"]),
    "timestamp": ("timestamp", ["'2026-03-04 05:06:07.89'"]),
    "timetz": ("timetz", ["'04:05:06+03'"]),
    "interval": ("interval", ["'1 year 2 months -3 days 04:05:06.7'"]),
    "double precision": ("double precision", ["0.1", "1e-300", "'-Infinity'"]),
    "real": ("real", ["0.1"]),
    "bytea": ("bytea", [r"'\xdeadbeef'", r"'\x5c41'"]),
    "inet": ("inet", ["'192.168.0.1/24'"]),
    "enum": ("mood", ["'sad'", "'so la la'"]),
    "domain": ("positive", ["1", "2"]),
    "domain over a domain": ("small", ["1", "2"]),
    "array": ("int[]", ["'{1,2}'", "'{}'"]),
    "range": ("tstzrange", ["'[2026-01-01 00:00+00, 2026-02-01 00:00+00)'"]),
    "citext": ("other.citext", ["'Mixed'", "'case'"]),
    "ltree": ("other.ltree", ["'top.middle'", "'top'"]),
}

ABROAD = (
    "set timezone = 'Pacific/Chatham'; set datestyle = 'SQL, DMY'; set intervalstyle = 'iso_8601';"
    " set extra_float_digits = -5; set bytea_output = 'escape'"
)


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_of_any_type_is_the_same_key_from_every_session(
    connect: Connect, live: Start, kind: str
) -> None:
    type_, values = KEYS[kind]
    connection, abroad = connect(), connect()
    connection.execute("create schema other")
    for extension in ("citext", "ltree"):
        connection.execute(f"create extension {extension} schema other")
    connection.execute("create type mood as enum ('sad', 'so la la')")
    connection.execute("create domain positive as bigint check (value > 0)")
    connection.execute("create domain small as positive check (value < 9)")
    connection.execute(f"create table note (id {type_} primary key, body text)")
    connection.execute(f"insert into note values ({values[0]}, 'from before')")
    connection.execute("select sidecar.attach('note', 'body')")
    abroad.execute(ABROAD)
    for position, value in enumerate(values[1:]):
        insert = f"insert into note values ({value}, 'inserted {position}')"
        (abroad if position % 2 else connection).execute(insert)
    for session in (connection, abroad):
        session.execute("update note set body = body || '!'")
    assert connection.execute("select count(*) from sidecar.pending").fetchone() == (len(values),)
    live()
    wait_until_quiet(connection)
    assert assert_right(connection) == len(values)
    assert connection.execute("select count(*) from sidecar.failure").fetchone() == (0,)
    connection.execute("select sidecar.reembed('note', 'body')")
    wait_until_quiet(connection)


@pytest.mark.parametrize("database", [16, 18], indirect=True)
@pytest.mark.parametrize("slices", [1, 3])
def test_a_composite_key_is_backfilled_and_followed(
    connect: Connect,
    database: str,
    live: Start,
    slices: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if slices > 1:
        monkeypatch.setattr("sidecar.slices.MOST", 40)
    connection, abroad = connect(), connect()
    connection.execute(
        "create table note"
        " (body text, day date, region text, id int, primary key (region, day, id))"
    )
    connection.execute(
        "insert into note select 'n' || g, date '2026-01-01' + g % 5, chr(65 + g % 3), g"
        " from generate_series(1, 100) g"
    )
    connection.execute("select sidecar.attach('note', 'body')")
    abroad.execute(ABROAD)
    abroad.execute("update note set body = 'changed' where id % 10 = 0")
    assert connection.execute(
        "select key->>1 ~ '^2026-01-0[1-5]$' from sidecar.pending group by 1"
    ).fetchall() == [(True,)]
    live()
    wait_until_quiet(connection)
    abroad.execute("update note set day = day + 30, id = -id where id % 7 = 0")
    wait_until_quiet(connection)
    assert assert_right(connection) == 100


def test_keys_are_found_after_their_index_was_rebuilt_concurrently(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body')")
    connection.execute("reindex table concurrently note")
    live()
    connection.execute("insert into note values (1, 'one')")
    connection.execute("update note set body = 'two'")
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


def test_an_application_goes_on_writing_while_its_table_has_no_primary_key(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("create table other (id int primary key, body text)")
    for table in ("note", "other"):
        connection.execute("select sidecar.attach(%s, 'body')", [table])
    live()
    connection.execute("alter table note drop constraint note_pkey")
    connection.execute("insert into note values (1, 'one')")
    connection.execute("insert into other values (1, 'one')")
    while connection.execute("select body_embedding is null from other").fetchone() != (False,):
        pass
    connection.execute("insert into note values (2, 'two')")
    connection.execute("update note set body = 'changed' where id = 1")
    connection.execute("alter table note add primary key (id)")
    connection.execute("insert into note values (3, 'three')")
    wait_until_quiet(connection)
    assert assert_right(connection) == 3
