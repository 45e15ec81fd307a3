"""`sidecar migrate`: there, again, back, and as a script."""

from __future__ import annotations

import psycopg
import pytest

from tests.cli.terminal import sidecar


def test_migrate_says_what_it_did(empty_database: str) -> None:
    first = sidecar("migrate", "--database-url", empty_database)
    assert first.returncode == 0, first.stderr
    assert "is new, and is at revision 0001" in first.stdout
    again = sidecar("migrate", DATABASE_URL=empty_database)
    assert again.returncode == 0, again.stderr
    assert "at revision 0001, as before" in again.stdout
    assert again.stderr == ""


def test_migrate_goes_back_and_keeps_tables_and_vectors(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table products (id int primary key, photo bytea)")
        connection.execute("select sidecar.attach('products', 'photo')")
    done = sidecar("migrate", "--down-to", "base", DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    assert "The schema sidecar is gone" in done.stdout
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("select photo_embedding from products")
        assert connection.execute("select to_regnamespace('sidecar')").fetchone() == (None,)


def test_the_script_brings_an_empty_database_up(empty_database: str) -> None:
    done = sidecar("migrate", "--sql")
    assert done.returncode == 0, done.stderr
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(done.stdout.encode())
    assert "as before" in sidecar("migrate", DATABASE_URL=empty_database).stdout


@pytest.mark.parametrize("empty_database", [16], indirect=True)
def test_what_the_database_remarks_is_shown_as_a_note(empty_database: str) -> None:
    done = sidecar("migrate", DATABASE_URL=empty_database)
    assert done.returncode == 0, done.stderr
    assert "note: dblink is not installed on this server" in done.stderr
    assert "skipping" not in done.stderr
