"""Columns that only name their pictures, through a live sidecar: URLs, files, large objects."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from PIL import Image

from sidecar.errors import RowFault
from sidecar.fetch.files import read_file
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect
from tests.fix_web import Server

Connection = psycopg.Connection[Any]
Web = Callable[..., Server]


def picture(number: int) -> bytes:
    """A PNG unlike that of any other number."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 9), (number * 37 % 256, number * 91 % 256, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def table(connect: Connect, source: str, type_: str = "text") -> Connection:
    """A table `named` whose pictures lie elsewhere, and `kept`, which holds the same ones."""
    connection = connect()
    connection.execute(f"create table named (id int primary key, place {type_})")
    connection.execute("create table kept (id int primary key, photo bytea)")
    connection.execute(
        "select sidecar.attach('named', 'place', source => %s, index => 'none'),"
        " sidecar.attach('kept', 'photo', index => 'none')",
        [source],
    )
    return connection


def keep(connection: Connection, *numbers: int) -> None:
    for number in numbers:
        connection.execute("insert into kept values (%s, %s)", [number, picture(number)])


def same_as_kept(connection: Connection) -> set[int]:
    """Rows of `named` that have the vector of the picture in `kept`."""
    return {
        row[0]
        for row in connection.execute(
            "select id from named join kept using (id) where place_embedding = photo_embedding"
        )
    }


def failures(connection: Connection) -> dict[int, str]:
    return dict(
        connection.execute("select (key ->> 0)::int, error from sidecar.failures").fetchall()
    )


def test_urls_are_embedded_and_embedded_again_when_they_change(
    connect: Connect, live: Start, web: Web
) -> None:
    connection = table(connect, "url")
    server = web(lambda request: request.say(200, picture(int(request.path[1:]))))
    live(url_allow=frozenset(["127.0.0.1"]))
    keep(connection, 1, 2, 3)
    data = base64.b64encode(picture(3)).decode()
    connection.execute(
        "insert into named values (1, %s), (2, %s), (3, %s), (4, null)",
        [f"{server.url}/1", f"  {server.url}/9 ", f"data:image/png;base64,{data}"],
    )
    wait_until_quiet(connection)
    assert same_as_kept(connection) == {1, 3}
    connection.execute("update named set place = %s where id = 2", [f"{server.url}/2"])
    wait_until_quiet(connection)
    assert same_as_kept(connection) == {1, 2, 3}
    assert connection.execute("select place_embedding from named where id = 4").fetchone() == (
        None,
    )
    assert failures(connection) == {}


def test_each_url_that_cannot_be_fetched_fails_alone_with_its_code(
    connect: Connect, live: Start, web: Web
) -> None:
    connection = table(connect, "url")
    server = web(
        lambda request: request.say(
            *{
                "/gone": (404,),
                "/locked": (403,),
                "/large": (200, b"x" * 20_000),
                "/page": (200, b"<html>"),
                "/broken": (500,),
            }.get(request.path, (200, picture(1)))
        )
    )
    live(url_allow=frozenset(["127.0.0.1"]), max_image_bytes=10_000, max_attempts=1)
    keep(connection, 1)
    bad = {
        2: (f"{server.url}/gone", "fetch_not_found"),
        3: (f"{server.url}/locked", "fetch_forbidden"),
        4: (f"{server.url}/large", "fetch_too_large"),
        5: (f"{server.url}/page", "not_an_image"),
        6: (f"{server.url}/broken", "fetch_failed"),
        7: (f"http://127.0.0.2:{server.port}/", "fetch_refused"),
        8: ("file:///etc/passwd", "fetch_refused"),
        9: ("", "fetch_refused"),
        10: ("data:nonsense", "fetch_failed"),
        11: ("gs://bucket/key", "fetch_refused"),
        12: ("s3://key@bucket/key", "fetch_refused"),
        13: ("data:," + "x" * 30_000, "image_too_large"),
        14: (f"http://user:word@127.0.0.1:{server.port}/", "fetch_refused"),
    }
    connection.execute("insert into named values (1, %s)", [server.url])
    for key, (url, _) in bad.items():
        connection.execute("insert into named values (%s, %s)", [key, url])
    wait_until_quiet(connection)
    assert failures(connection) == {key: code for key, (_, code) in bad.items()}
    assert same_as_kept(connection) == {1}


def test_a_row_whose_host_says_when_waits_uncharged(
    connect: Connect, live: Start, web: Web
) -> None:
    connection = table(connect, "url")
    busy = web(lambda request: request.say(429, retry_after="100"))
    live(url_allow=frozenset(["127.0.0.1"]), max_attempts=1)
    connection.execute(
        "insert into named select n, %s from generate_series(1, 5) n", [f"{busy.url}/x"]
    )
    for _ in range(200):
        waiting = connection.execute(
            "select count(*), max(attempts), min(due_at - clock_timestamp()) > interval '80 s'"
            " from sidecar.pending where lease_until is null and due_at > clock_timestamp()"
        ).fetchone()
        if waiting == (5, 0, True):
            break
        connection.execute("select pg_sleep(0.05)")
    assert waiting == (5, 0, True)
    assert failures(connection) == {}
    # The new URL has nothing to do with the host that rests.
    keep(connection, 1)
    good = web(lambda request: request.say(200, picture(1)))
    connection.execute("update named set place = %s where id = 1", [good.url])
    for _ in range(200):
        if same_as_kept(connection) == {1}:
            break
        connection.execute("select pg_sleep(0.05)")
    assert same_as_kept(connection) == {1}


def test_a_server_that_hangs_holds_up_nobody_else(connect: Connect, live: Start, web: Web) -> None:
    connection = table(connect, "url")
    connection.execute("create table other (id int primary key, place text)")
    connection.execute("select sidecar.attach('other', 'place', source => 'url', index => 'none')")
    hanging = web(lambda request: request.server.over.wait(60), address="127.0.0.2")
    good = web(lambda request: request.say(200, picture(1)))
    live(
        url_allow=frozenset(["127.0.0.1", "127.0.0.2"]),
        batch_size=4,
        lease_seconds=2.0,
        fetches_per_host=2,
    )
    connection.execute(
        "insert into named select n, %s from generate_series(1, 200) n", [hanging.url]
    )
    for _ in range(100):
        if len(hanging.seen) == 2:
            break
        connection.execute("select pg_sleep(0.05)")
    keep(connection, *range(1, 30))
    connection.execute("insert into other select n, %s from generate_series(1, 8) n", [good.url])
    done = (0, 0)
    for _ in range(400):
        done = connection.execute(
            "select (select count(photo_embedding) from kept),"
            " (select count(place_embedding) from other)"
        ).fetchone() or (0, 0)
        if done == (29, 8):
            break
        connection.execute("select pg_sleep(0.05)")
    assert done == (29, 8)
    assert len(hanging.seen) == 2
    # The two that hang keep their leases, longer than one lasts; all others wait uncharged.
    connection.execute("select pg_sleep(2.5)")
    attempts = connection.execute(
        "select count(*) filter (where attempts = 1 and lease_until > clock_timestamp()) >= 2,"
        " max(attempts) from sidecar.pending"
    ).fetchone()
    assert attempts == (True, 1)
    assert len(hanging.seen) == 2


def test_pictures_in_the_table_never_wait_for_those_that_are_fetched(
    connect: Connect, live: Start, web: Web
) -> None:
    connection = table(connect, "url")
    hanging = web(lambda request: request.server.over.wait(60))
    live(url_allow=frozenset(["127.0.0.1"]), batch_size=4, fetches_per_host=1000)
    connection.execute(
        "insert into named select n, %s from generate_series(1, 100) n", [hanging.url]
    )
    for _ in range(200):
        if len(hanging.seen) == 16:  # as many as are ever taken at a time
            break
        connection.execute("select pg_sleep(0.05)")
    keep(connection, *range(1, 9))
    for _ in range(200):
        done = connection.execute("select count(photo_embedding) from kept").fetchone()
        if done == (8,):
            break
        connection.execute("select pg_sleep(0.05)")
    assert done == (8,)
    assert len(hanging.seen) == 16


def test_files_are_read_under_the_roots_and_nowhere_else(
    connect: Connect, live: Start, tmp_path: Path
) -> None:
    root, second, outside = tmp_path / "root", tmp_path / "second", tmp_path / "root-not"
    for number, directory in enumerate((root, second, outside), start=1):
        directory.mkdir()
        (directory / f"{number}.png").write_bytes(picture(number))
    (root / "out.png").symlink_to(outside / "3.png")
    (root / "in.png").symlink_to(second / "2.png")
    (root / "loop").symlink_to(root / "loop")
    (root / "link").symlink_to(outside)
    (root / "large.png").write_bytes(b"x" * 20_000)
    (root / "directory").mkdir()
    os.mkfifo(root / "pipe")
    os.mkfifo(outside / "pipe")
    connection = table(connect, "file")
    live(file_roots=(str(root), str(second)), max_image_bytes=10_000, max_attempts=1)
    keep(connection, 1, 2, 11, 12, 13)
    for number, same in {11: 1, 12: 2, 13: 2}.items():
        connection.execute("update kept set photo = %s where id = %s", [picture(same), number])
    good = {
        1: str(root / "1.png"),
        2: "2.png",
        11: f"{root}/../root/./1.png",
        12: str(root / "in.png"),
        13: "../second/2.png",
    }
    bad = {
        20: (str(outside / "3.png"), "file_outside_roots"),
        21: (str(root / "out.png"), "file_outside_roots"),
        22: (f"{root}/../root-not/3.png", "file_outside_roots"),
        23: ("../root-not/3.png", "file_outside_roots"),
        24: (str(root / "link" / "3.png"), "file_outside_roots"),
        25: ("/etc/passwd", "file_outside_roots"),
        26: ("/proc/self/environ", "file_outside_roots"),
        27: (str(outside / "pipe"), "file_outside_roots"),
        28: (str(root / "none.png"), "file_not_found"),
        29: (str(root / "1.png" / "x"), "file_not_found"),
        30: (str(root / "directory"), "file_not_found"),
        31: (str(root / "pipe"), "file_not_found"),
        32: ("", "file_not_found"),
        33: (f"file://{root}/1.png", "file_not_found"),
        34: (str(root / "large.png"), "fetch_too_large"),
        35: (str(root / "loop"), "fetch_failed"),
        36: ("/dev/null", "file_outside_roots"),
        37: ("x" * 5000, "fetch_failed"),
    }
    for key, path in good.items():
        connection.execute("insert into named values (%s, %s)", [key, path])
    for key, (path, _) in bad.items():
        connection.execute("insert into named values (%s, %s)", [key, path])
    wait_until_quiet(connection)
    assert failures(connection) == {key: code for key, (_, code) in bad.items()}
    assert same_as_kept(connection) == set(good)


def test_without_roots_no_file_is_read(connect: Connect, live: Start, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(picture(1))
    connection = table(connect, "file")
    live()
    connection.execute("insert into named values (1, %s)", [str(tmp_path / "1.png")])
    wait_until_quiet(connection)
    assert failures(connection) == {1: "file_outside_roots"}


def test_large_objects_are_read_by_a_worker_that_may(
    database: str, connect: Connect, live: Start, role: Callable[..., str]
) -> None:
    connection = table(connect, "large_object", "oid")
    worker = role(database)
    name = worker.partition("://")[2].partition(":")[0]
    connection.execute(f"grant sidecar_worker to {name}")
    live(worker, max_image_bytes=10_000)
    keep(connection, 1, 2)
    contents = {1: picture(1), 2: picture(2), 3: b"x" * 20_000, 4: b"", 5: picture(5)}
    for key, content in contents.items():
        connection.execute("insert into named values (%s, lo_from_bytea(0, %s))", [key, content])
    connection.execute("insert into named values (6, 1), (7, null)")
    wait_until_quiet(connection)
    forbidden = dict.fromkeys(contents, "large_object_forbidden")
    assert failures(connection) == forbidden | {6: "large_object_not_found"}
    assert connection.execute(
        "select mend from sidecar.doctor() where finding like '%large objects%'"
    ).fetchall() == [("SELECT sidecar.grant_large_objects('public.named', 'place');",)]
    assert connection.execute(
        "select sidecar.grant_large_objects('named', 'place')"
    ).fetchone() == (5,)
    assert connection.execute(
        "select sidecar.grant_large_objects('named', 'place')"
    ).fetchone() == (0,)
    assert not connection.execute(
        "select from sidecar.doctor() where finding like '%large objects%'"
    ).fetchall()
    connection.execute("select sidecar.retry('named', 'place')")
    wait_until_quiet(connection)
    assert same_as_kept(connection) == {1, 2}
    assert failures(connection) == {
        3: "fetch_too_large",
        4: "not_an_image",
        6: "large_object_not_found",
    }


@pytest.mark.parametrize(
    ("type_", "call", "error", "hint"),
    [
        ("bytea", "source => 'url'", psycopg.errors.DatatypeMismatch, "inline"),
        ("bytea", "source => 'file'", psycopg.errors.DatatypeMismatch, "inline"),
        ("text", "source => 'large_object'", psycopg.errors.DatatypeMismatch, "oid"),
        ("text", "source => 'url', modality => 'text'", psycopg.errors.FeatureNotSupported, "only"),
        ("oid", "source => 'inline'", psycopg.errors.DatatypeMismatch, "bytea"),
        ("text", "source => 'ftp'", psycopg.errors.InvalidParameterValue, "large_object"),
    ],
)
def test_a_column_that_cannot_name_a_picture_is_refused(
    connect: Connect, type_: str, call: str, error: type[psycopg.Error], hint: str
) -> None:
    connection = connect()
    connection.execute(f"create table t (id int primary key, c {type_})")
    with pytest.raises(error) as raised:
        connection.execute(f"select sidecar.attach('t', 'c', {call})")
    assert hint in (raised.value.diag.message_hint or "")


@pytest.mark.parametrize("type_", ["text", "varchar(200)", "address", "citext"])
def test_every_type_of_text_can_name_a_picture(connect: Connect, type_: str) -> None:
    connection = connect()
    connection.execute("create extension citext; create domain address as text")
    connection.execute(f"create table t (id int primary key, c {type_})")
    connection.execute("select sidecar.attach('t', 'c', source => 'url')")
    assert connection.execute("select modality, source from sidecar.attachment").fetchone() == (
        "image",
        "url",
    )


def test_a_link_that_changes_after_the_look_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, secret, place = tmp_path / "root", tmp_path / "secret", tmp_path / "root" / "1.png"
    root.mkdir()
    secret.write_bytes(b"secret")
    place.write_bytes(picture(1))
    really_open = os.open

    def swapped(path: str, flags: int) -> int:
        place.unlink()
        place.symlink_to(secret)
        return really_open(path, flags)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(RowFault) as caught:
        read_file(str(place), [str(root)], 1000)
    monkeypatch.undo()
    assert caught.value.code == "file_outside_roots"
