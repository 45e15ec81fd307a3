"""`sidecar import`: a folder becomes rows, once; what cannot be read holds nothing up."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from sidecar.bundled.drawings import draw
from tests.cli.terminal import live_sidecar, sidecar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four drawings, one of them in a subfolder, and a file that is no picture's."""
    (tmp_path / "b").mkdir()
    for seed, name in enumerate(["1.png", "2.jpg", 'it\'s "3" %s.PNG', "b/4.webp"]):
        image, _ = draw(seed)
        image.save(tmp_path / name, {"jpg": "JPEG", "webp": "WEBP"}.get(name[-3:], "PNG"))
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def names(url: str, table: str = "pictures", column: str = "name") -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [row[0] for row in connection.execute(f"select {column} from {table} order by 1")]


def test_a_folder_is_imported_once(database: str, folder: Path) -> None:
    done = sidecar("import", folder, DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    assert "4 pictures inserted into pictures." in done.stdout
    assert "No sidecar is running" in done.stderr
    assert names(database) == sorted(["1.png", "2.jpg", "b/4.webp", 'it\'s "3" %s.PNG'])
    again = sidecar("import", folder, "--no-wait", DATABASE_URL=database)
    assert "0 pictures inserted into pictures; 4 were there already." in again.stdout
    assert len(names(database)) == 4


def test_names_that_need_quotes_are_quoted(database: str, folder: Path) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute('create schema "My Shop"')
    table = '"My Shop"."the ""best"" photos"'
    done = sidecar(
        *("import", folder, "--table", table, "--column", "Photo %", "--name-column", "it's"),
        DATABASE_URL=database,
    )
    assert done.returncode == 0, done.stderr
    assert len(names(database, table, '"it\'s"')) == 4
    with psycopg.connect(database, autocommit=True) as connection:
        attached = connection.execute("select source_column, pending from sidecar.status")
        assert attached.fetchall() == [("Photo %", 4)]


def test_a_table_that_is_there_is_filled(database: str, folder: Path) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "create table shots (no serial primary key, file varchar, picture bytea, price int)"
        )
    done = sidecar(
        *("import", folder, "--table", "shots", "--column", "picture", "--name-column", "file"),
        DATABASE_URL=database,
    )
    assert done.returncode == 0, done.stderr
    assert len(names(database, "shots", "file")) == 4


def test_a_file_that_cannot_be_read_is_named_and_the_others_go_on(
    database: str, folder: Path
) -> None:
    (folder / "0-gone.png").symlink_to(folder / "nowhere")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(b"")
    done = sidecar("import", folder, DATABASE_URL=database)
    assert done.returncode == 1
    assert "not read: 0-gone.png: No such file or directory" in done.stderr
    assert "its name is not UTF-8" in done.stderr
    assert "error: 2 of 6 files could not be read" in done.stderr.splitlines()[-1]
    assert len(names(database)) == 4


def test_more_files_than_a_batch_holds(database: str, tmp_path: Path) -> None:
    for number in range(250):
        (tmp_path / f"{number}.png").write_bytes(b"%d" % number)
    done = sidecar("import", tmp_path, "--no-wait", DATABASE_URL=database)
    assert "250 pictures inserted" in done.stdout
    assert len(names(database)) == 250


def test_import_waits_and_tells_what_failed_and_the_rest_can_be_searched(
    database: str, folder: Path
) -> None:
    (folder / "broken.jpg").write_text("these are words")
    with live_sidecar(database):
        done = sidecar("import", folder, DATABASE_URL=database)
        assert done.returncode == 0, done.stderr
        assert "1 failed with not_an_image, such as: The 15 bytes are no picture" in done.stderr
        found = sidecar("search", "pictures", f"@{folder / '1.png'}", DATABASE_URL=database)
        assert found.returncode == 0, found.stderr
        lines = found.stdout.splitlines()
        assert lines[:2] == [
            "SELECT (item).id, (item).name, round(distance::numeric, 3) AS distance",
            "FROM sidecar.search(NULL::pictures, $1, k => 10);",
        ]
        assert [word for line in lines if "1.png" in line for word in line.split()][1:] == [
            "1.png",
            "0.000",
        ]
        text = sidecar("search", "pictures", "it's 100%", "-k", "2", DATABASE_URL=database)
        assert "sidecar.search(NULL::pictures, 'it''s 100%', k => 2);" in text.stdout
        assert len(text.stdout.splitlines()) == 2 + 1 + 2 + 2
        status = sidecar("status", DATABASE_URL=database).stdout
        assert "pictures.photo" in status
        assert "not_an_image" in status
        assert "bundled" in status


def test_a_table_whose_vectors_are_apart_is_filled_and_searched(
    database: str, folder: Path
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table shots (id serial primary key, name text, photo bytea)")
        connection.execute("select sidecar.attach('shots', 'photo', storage => 'table')")
    with live_sidecar(database):
        done = sidecar("import", folder, "--table", "shots", DATABASE_URL=database)
        assert "4 pictures inserted into shots." in done.stdout
        assert "All are embedded." in done.stdout
        found = sidecar("search", "shots", "a red circle", "-k", "2", DATABASE_URL=database)
    assert found.returncode == 0, found.stderr
    assert ".png" in found.stdout.lower() or ".jpg" in found.stdout or ".webp" in found.stdout
