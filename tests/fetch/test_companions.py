"""Columns that name their pictures, with the vectors in a companion table, and what becomes of them
when their table changes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sidecar.database import create_pool
from sidecar.queue import Queue
from tests.fetch.test_sources import Web, failures, keep, picture, same_as_kept, table
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]
TYPES = {"url": "text", "file": "varchar(200)", "large_object": "oid"}


def place(connection: Connection, source: str, root: Path, web: Web, number: int) -> str:
    """Where that picture is from now on, as its column names it."""
    if source == "large_object":
        row = connection.execute("select lo_from_bytea(0, %s)", [picture(number)]).fetchone()
        assert row is not None
        return str(row[0])
    if source == "file":
        (root / str(number)).write_bytes(picture(number))
        return str(number)
    server = web(lambda request: request.say(200, picture(int(request.path[1:]))))
    return f"{server.url}/{number}"


def put(connection: Connection, key: int, name: str | None, type_: str) -> None:
    connection.execute(
        f"insert into named values (%s, %s::text::{type_}) on conflict (id) do update"
        " set place = excluded.place",
        [key, name],
    )


@pytest.mark.parametrize("source", TYPES)
def test_the_companion_of_a_column_that_names_pictures_is_kept_in_step(
    connect: Connect, live: Start, web: Web, tmp_path: Path, source: str
) -> None:
    connection = connect()
    connection.execute(f"create table named (id int primary key, place {TYPES[source]})")
    connection.execute("create table kept (id int primary key, photo bytea)")
    connection.execute("select sidecar.attach('kept', 'photo', index => 'none')")
    keep(connection, 1, 2)
    names = {number: place(connection, source, tmp_path, web, number) for number in (1, 2)}
    put(connection, 1, names[1], TYPES[source])  # before attach: the backfill finds it by its hash
    attach = (
        "select sidecar.attach('named', 'place', source => %s, storage => 'table',"
        " index => 'none', on_change => 'clear')"
    )
    connection.execute(attach, [source])
    allowed = frozenset(["127.0.0.1"])
    sidecar = live(url_allow=allowed, file_roots=(str(tmp_path),))
    put(connection, 2, names[1], TYPES[source])
    put(connection, 3, None, TYPES[source])
    wait_until_quiet(connection)
    assert failures(connection) == {}
    assert seen(connection) == {1}
    put(connection, 2, names[2], TYPES[source])
    wait_until_quiet(connection)
    assert seen(connection) == {1, 2}
    assert dict(
        connection.execute("select id, content_hash from named_place_embedding").fetchall()
    ) == {number: hashlib.sha256(name.encode()).digest() for number, name in names.items()}

    # What is the same after a detach is not fetched again.
    connection.execute("select sidecar.detach('named', 'place')")
    asked = sidecar.encoder.asked
    put(connection, 2, names[1], TYPES[source])
    connection.execute(attach.replace("index", "adopt => true, index"), [source])
    wait_until_quiet(connection)
    assert sidecar.encoder.asked == asked + 1
    assert seen(connection) == {1}


def seen(connection: Connection) -> set[int]:
    """Rows of `named` whose view shows the vector of the picture in `kept`."""
    rows = connection.execute(
        "select id from named_with_place_embedding join kept using (id)"
        " where place_embedding = photo_embedding"
    )
    return {row[0] for row in rows}


def doctor(connection: Connection, words: str) -> list[tuple[str, str]]:
    """Findings, with their mends, that hold these words."""
    return connection.execute(
        "select finding, mend from sidecar.doctor() where finding ~ %s", [words]
    ).fetchall()


def attached_file(connect: Connect) -> Connection:
    connection = table(connect, "file")
    connection.execute("update sidecar.attachment set backfill = 'done'")
    return connection


def test_a_type_that_still_names_pictures_changes_nothing(
    connect: Connect, live: Start, tmp_path: Path
) -> None:
    connection = attached_file(connect)
    live(file_roots=(str(tmp_path),))
    with connection.transaction():
        connection.execute("select sidecar.before_alter('named')")
        connection.execute("alter table named alter place type varchar(300)")
        connection.execute("select sidecar.after_alter('named')")
    keep(connection, 1)
    (tmp_path / "1").write_bytes(picture(1))
    connection.execute("insert into named values (1, '1')")
    wait_until_quiet(connection)
    assert same_as_kept(connection) == {1}
    assert doctor(connection, "named.place") == []


def test_a_type_that_names_no_pictures_stops_the_column_and_doctor_says_so(
    connect: Connect,
) -> None:
    connection = attached_file(connect)
    alter = "alter table named alter place type bytea using place::bytea"
    connection.execute("begin; select sidecar.before_alter('named')")
    connection.execute(alter.encode())
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="source => 'file'"):
        connection.execute("select sidecar.after_alter('named')")
    connection.execute("rollback; begin; select sidecar.before_alter('named')")
    connection.execute(alter.encode())
    connection.execute("commit")
    ((finding, mend),) = doctor(connection, "named.place")
    assert "attached as image with source => 'file', and now has the type bytea" in finding
    assert mend == "SELECT sidecar.detach('public.named', 'place');"
    assert connection.execute(
        "select count(*) from sidecar.attachment a, sidecar.statements(a.id)"
        " where a.source <> 'inline'"
    ).fetchone() == (0,)


def test_doctor_attaches_a_replaced_table_with_the_same_source(connect: Connect) -> None:
    connection = attached_file(connect)
    connection.execute("alter table named rename to old")
    connection.execute("create table named (id int primary key, place bytea)")
    assert doctor(connection, "another table") == []  # bytea names no file
    connection.execute("drop table named; create table named (id int primary key, place text)")
    ((_, mend),) = doctor(connection, "another table")
    connection.execute(mend.encode())
    assert connection.execute(
        "select modality, source from sidecar.attachment where target = 'named'::regclass"
    ).fetchone() == ("image", "file")


async def test_a_row_that_is_tried_alone_has_its_own_place(connect: Connect, database: str) -> None:
    connection = attached_file(connect)
    connection.execute("update sidecar.attachment set model = 'hash'")
    connection.execute("insert into named values (1, '1'); insert into kept values (1, '')")
    connection.execute("update sidecar.pending set attempts = 5")
    pool = await create_pool(database, 2)
    queue = Queue(pool, "hash", 60.0, 5)
    await queue.find_spent()
    rooms = set()
    for _ in range(2):
        (claim,) = await queue.claim({"image": 64, "text": 512})
        rooms.add(claim.room)
        queue.finish([claim])
    assert rooms == {"image", "fetch"}
    assert not queue.held_by.total()
    await pool.close()
