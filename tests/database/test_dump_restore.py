"""pg_dump and pg_restore into a fresh database: attachments, triggers and vectors come back, and
only what was pending is embedded."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from sidecar import migrate
from sidecar.embedded import Server
from sidecar.settings import Settings
from tests.database.test_attached_tables import scalar, wait_for
from tests.database.test_rows import assert_right
from tests.fix_live import LiveSidecar, Start, wait_until_quiet
from tests.fix_postgres import Connect, fresh_database
from tests.fix_sidecar import AnsweringSidecar

Connection = psycopg.Connection[Any]


def program(server: Server, name: str, *arguments: str | Path) -> str:
    """Runs pg_dump and the like, to its end and without an error."""
    done = subprocess.run(
        [server.cluster.programs.root / "bin" / name, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def copy_database(
    source: Server, target: Server, urls: tuple[str, str], file: Path, form: str
) -> None:
    """Dumps the first URL's database and restores it to the second's, with the newer programs."""
    if form == "plain":
        program(target, "pg_dump", "-f", file, urls[0])
        program(target, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, urls[1])
    else:
        jobs = ["-j", "2"] if form == "parallel" else ["--exit-on-error"]
        program(source, "pg_dump", "-Fc", "-f", file, urls[0])
        program(target, "pg_restore", *jobs, "-d", urls[1], file)


def fill(connection: Connection) -> None:
    """Two attached columns behind dropped ones, in a table whose names need quotes."""
    connection.execute(
        'create schema "a shop";'
        'create table "a shop"."No te" (gone int, id int primary key, body text, empty int,'
        " title text);"
        'alter table "a shop"."No te" drop column gone;'
        'alter table "a shop"."No te" drop column empty;'
    )
    connection.execute("""select sidecar.attach('"a shop"."No te"', 'body')""")
    connection.execute(
        """select sidecar.attach('"a shop"."No te"', 'title', on_change => 'clear')"""
    )
    connection.execute(
        """insert into "a shop"."No te" select g, 'body ' || g, 'title ' || g"""
        " from generate_series(1, 40) g"
    )


@pytest.fixture
def sidecars() -> Iterator[Start]:
    """sidecars(url) -> a ready one, for whichever database."""
    with ExitStack() as running:

        def start(url: str | None = None, **settings: Any) -> LiveSidecar:
            assert url
            sidecar = LiveSidecar(url, Settings(**settings)).start()
            running.callback(sidecar.stop)
            return sidecar

        yield start


@pytest.mark.parametrize(
    ("majors", "form"),
    [((18, 18), "plain"), ((18, 18), "parallel"), ((16, 16), "custom"), ((16, 18), "plain")],
)
def test_a_restored_database_goes_on_where_the_dump_was_made(
    request: pytest.FixtureRequest,
    connect: Connect,
    sidecars: Start,
    tmp_path: Path,
    majors: tuple[int, int],
    form: str,
) -> None:
    old, new = (
        request.getfixturevalue("postgres" if major == 18 else f"postgres{major}")
        for major in majors
    )
    with fresh_database(old, "migrated") as first, fresh_database(new, "template0") as second:
        connection = connect(first)
        fill(connection)
        sidecar = sidecars(first)
        wait_until_quiet(connection)
        connection.execute("""alter table "a shop"."No te" rename title to "Tit le" """)
        wait_for(connection, "select bool_or(source_column = 'Tit le') from sidecar.attachment", 10)
        sidecar.stop()
        connection.execute("""update "a shop"."No te" set body = 'changed' where id <= 3""")
        connection.execute(
            "insert into sidecar.failure values (2, '[40]', 'model_failed', 'why', 5)"
        )
        connection.close()
        copy_database(old, new, (first, second), tmp_path / "dump", form)
        connection = connect(second)
        # Nothing of ours has run here yet.
        assert scalar(connection, "select count(*) from sidecar.pending") == 3
        connection.execute("""insert into "a shop"."No te" values (41, 'new', null)""")
        connection.execute(
            """update "a shop"."No te" set "Tit le" = 'other' where id = 5 returning *"""
        )
        assert scalar(
            connection, """select title_embedding is null from "a shop"."No te" where id = 5"""
        )
        assert scalar(connection, "select count(*) from sidecar.pending") == 6
        connection.execute("""select sidecar.pause('"a shop"."No te"', 'Tit le')""")
        connection.execute("""select sidecar.resume('"a shop"."No te"', 'Tit le')""")
        sidecar = sidecars(second)
        wait_until_quiet(connection)
        assert sidecar.encoder.asked == 5  # NULL asks no model
        table = '(select id, "Tit le" as body, title_embedding as body_embedding'
        assert assert_right(connection, table + ' from "a shop"."No te") t') == 41
        assert assert_right(connection, '"a shop"."No te"') == 41
        assert scalar(connection, "select count(*) from sidecar.failures") == 1
        # The trigger functions know the new database.
        oid = scalar(
            connection,
            "select indexrelid from pg_index where indrelid::regclass::text"
            """ = '"a shop"."No te"' and indisprimary""",
        )
        assert str(oid) in scalar(
            connection, "select prosrc from pg_proc where proname = 'queue_1_statement'"
        )
        sidecar.stop()
        migrate.upgrade(second)
        assert not connection.execute(
            "select * from sidecar.doctor() where finding !~ 'no sidecar|failed with|dblink'"
        ).fetchall()
        connection.close()


def test_a_column_is_dropped_by_its_name_before_anything_ran_after_a_restore(
    connect: Connect, postgres: Server, database: str, empty_database: str, tmp_path: Path
) -> None:
    fill(connect(database))
    copy_database(postgres, postgres, (database, empty_database), tmp_path / "dump", "custom")
    connection = connect(empty_database)
    again = """select sidecar.attach('"a shop"."No te"', 'body')"""
    assert scalar(connection, again) == 1
    connection.execute("""select sidecar.detach('"a shop"."No te"', 'body', drop_column => true)""")
    assert scalar(
        connection,
        "select array_agg(attname::text order by attnum) from pg_attribute"
        """ where attrelid = '"a shop"."No te"'::regclass and attnum > 0 and not attisdropped""",
    ) == ["id", "body", "title", "title_embedding"]


def test_a_source_column_that_nobody_noted_the_rename_of_is_found(
    connect: Connect,
    sidecars: Start,
    postgres: Server,
    database: str,
    empty_database: str,
    tmp_path: Path,
) -> None:
    connection = connect(database)
    fill(connection)
    connection.execute(
        'alter table "a shop"."No te" rename title to body_text;'
        'alter table "a shop"."No te" rename body to title;'
        'alter table "a shop"."No te" rename body_text to body'
    )
    copy_database(postgres, postgres, (database, empty_database), tmp_path / "dump", "custom")
    connection = connect(empty_database)
    sidecar = sidecars(empty_database)
    wait_until_quiet(connection)
    sidecar.stop()
    swapped = '(select title as body, body_embedding from "a shop"."No te") t'
    assert assert_right(connection, swapped) == 40
    assert connection.execute(
        "select source_column::text, embedding_column::text from sidecar.attachment order by id"
    ).fetchall() == [("title", "body_embedding"), ("body", "title_embedding")]


def loopback_roles(connection: Connection) -> tuple[str, str]:
    """The role that embed_text asks with here, and the one that this database should have."""
    row = connection.execute(
        "select o.option_value, 'sidecar_loopback_' || d.oid"
        " from pg_user_mappings u, pg_options_to_table(u.umoptions) o, pg_database d"
        " where u.srvname = 'sidecar_loopback' and o.option_name = 'user'"
        " and d.datname = current_database()"
    ).fetchone()
    assert row is not None
    return str(row[0]), str(row[1])


def test_a_restored_database_asks_itself(
    connect: Connect, postgres: Server, database: str, empty_database: str, tmp_path: Path
) -> None:
    migrate.upgrade(database)  # a copy of the template has the template's role
    copy_database(postgres, postgres, (database, empty_database), tmp_path / "dump", "custom")
    answering = AnsweringSidecar(empty_database)
    answering.start()
    try:
        connect(empty_database).execute("select sidecar.embed_text('before')")
        migrate.upgrade(empty_database)
        mapped, own = loopback_roles(connect(empty_database))
        assert mapped == own
        connect(empty_database).execute("select sidecar.embed_text('after')")
        # What a dumper finds in the mapping who may not read it: nothing.
        connect(empty_database).execute(
            "alter user mapping for current_user server sidecar_loopback"
            " options (drop user, drop password)"
        )
        migrate.upgrade(empty_database)
        assert loopback_roles(connect(empty_database)) == (own, own)
        connect(empty_database).execute("select sidecar.embed_text('again')")
        assert answering.asked == ["before", "after", "again"]
    finally:
        answering.stop()
    mapped, other = loopback_roles(connect(database))
    assert mapped == other != own
    assert not scalar(
        connect(empty_database), f"select has_schema_privilege('{other}', 'sidecar', 'usage')"
    )


def test_a_plain_owner_restores_and_migrates(
    connect: Connect,
    sidecars: Start,
    role: Callable[..., str],
    postgres: Server,
    database: str,
    empty_database: str,
    tmp_path: Path,
) -> None:
    fill(connect(database))
    owner = role(empty_database)
    name, place = urlsplit(owner).username, urlsplit(empty_database).path[1:]
    connect(empty_database).execute(
        "create extension vector; create extension dblink;"
        f"alter database {place} owner to {name}; alter schema public owner to {name}"
    )
    program(postgres, "pg_dump", "-Fc", "-f", tmp_path / "dump", database)
    restored = subprocess.run(
        [
            *(postgres.cluster.programs.root / "bin" / "pg_restore", "--no-owner", "--no-acl"),
            *("-d", owner, tmp_path / "dump"),
        ],
        capture_output=True,
        text=True,
    )
    # What only a superuser may do, and what sidecar migrate does where it can.
    refused = re.findall(r"Command was: (.*)", restored.stderr)
    assert all(re.match(r"COMMENT ON EXTENSION|CREATE SERVER|.*MAPPING", line) for line in refused)
    connect(empty_database).execute(f"grant usage on foreign data wrapper dblink_fdw to {name}")
    migrate.upgrade(owner)
    connection = connect(owner)
    connection.execute("""insert into "a shop"."No te" values (41, 'new', null)""")
    sidecar = sidecars(owner)
    wait_until_quiet(connection)
    assert assert_right(connection, '"a shop"."No te"') == 41
    connection.execute("select sidecar.embed_text('a')")
    sidecar.stop()
