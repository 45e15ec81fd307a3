"""Every finding of sidecar.doctor(): the fault is made, the line is seen, its mend is run as it is
printed, and the line is gone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from sidecar.migrate import upgrade
from tests.database.test_attached_tables import NOTE, wait_for
from tests.fix_live import Start
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]

# Words of the finding -> the fault; `note` is attached, on_change => clear, with an HNSW index. All
# at once would hide one another, so they come in turn.
FAULTS = {
    "a trigger is missing": "drop trigger sidecar_1_insert on note",
    "trigger zzz_sidecar_1_clear is disabled": (
        "alter table note disable trigger zzz_sidecar_1_clear"
    ),
    "trigger sidecar_1_update is disabled": "alter table note disable trigger sidecar_1_update",
    "by a BEFORE trigger are not noticed": (
        "create trigger later before update on note for each row execute function nothing()"
    ),
    "is not valid": (
        "update pg_index set indisvalid = false"
        " where indexrelid = 'note_body_embedding_idx'::regclass"
    ),
    "has no HNSW index": None,  # what the mend before this left behind
    "are of older, and questions": "update sidecar.attachment set model = 'older'",
    "1 rows of public.note.body failed with crashed": (
        "insert into sidecar.failure values (1, '[1]', 'crashed', '', 3)"
    ),
    "for more than 5 minutes: it is paused": (
        "select sidecar.pause('note', 'body');"
        "update sidecar.pending set queued_at = now() - interval '1 hour'"
    ),
    "has no primary key": "alter table note drop constraint note_pkey",
    "is on other columns": (
        "begin; select sidecar.before_alter('note'); alter table note drop constraint note_pkey,"
        " add primary key (other); select sidecar.after_alter('note') where false;"
        "select sidecar.install_triggers(1); commit"
    ),
    "attached as text, and now has the type bytea": (
        "begin; select sidecar.before_alter('note');"
        "alter table note alter body type bytea using body::bytea; commit"
    ),
    "attached as image, and now has the type integer": (
        "begin; select sidecar.before_alter('note');"
        "alter table note alter body type int using 1; commit"
    ),
    "vector column v has the type": (
        "select sidecar.attach('note', 'title', embedding => 'v', index => 'none');"
        "alter table note alter v type vector(3) using null"
    ),
    "its vector column v was dropped": "alter table note drop v",
    "of which title is attached, was dropped": (
        "select sidecar.attach('note', 'title'); drop table note"
    ),
    "autovacuum is switched off for sidecar.pending": (
        "alter table sidecar.pending set (autovacuum_enabled = false)"
    ),
}


def findings(connection: Connection, words: str) -> list[tuple[str, str]]:
    return connection.execute(
        "select finding, mend from sidecar.doctor() where strpos(finding, %s) > 0", [words]
    ).fetchall()


def mend(connection: Connection, words: str) -> None:
    """Sees the line, runs what it prints, and sees it gone."""
    found = findings(connection, words)
    assert found, connection.execute("select finding from sidecar.doctor()").fetchall()
    for _, printed in found:
        assert printed.endswith(";"), printed
        connection.execute(printed.encode())
    assert findings(connection, words) == []


def test_each_finding_of_a_table_is_gone_after_its_mend(connect: Connect) -> None:
    connection = connect(options="-c allow_system_table_mods=on")
    connection.execute(
        "create table note (id int primary key, other int unique not null default 1, body text,"
        " title text);"
        "create function nothing() returns trigger language plpgsql as 'begin return new; end'"
    )
    connection.execute("insert into sidecar.model (name, width, serving) values ('m', 768, true)")
    connection.execute("select sidecar.attach('note', 'body', on_change => 'clear')")
    connection.execute("insert into note values (1, 1, 'one', 'title')")
    for words, fault in FAULTS.items():
        if fault:
            assert findings(connection, words) == [], words
            connection.execute(fault.encode())
        mend(connection, words)
    # What remains is what only a sidecar can mend.
    left = connection.execute("select finding, mend from sidecar.doctor()").fetchall()
    assert {printed for _, printed in left} == {"sidecar run"}, left


def test_replaced_tables_and_partitions_that_are_attached_twice(connect: Connect) -> None:
    connection = connect()
    connection.execute(
        "create table part (id int primary key, body text);"
        "create table whole (id int primary key, body text) partition by range (id);"
        "create table note (id int primary key, body text)"
    )
    for table in ("part", "whole", "note"):
        connection.execute("select sidecar.attach(%s, 'body', index => 'none')", [table])
    connection.execute("alter table whole attach partition part default")
    mend(connection, "is embedded twice")
    connection.execute("alter table note rename to old; create table note (like old including all)")
    mend(connection, "it is another table than the one")
    connection.execute("drop table old")
    mend(connection, "of which body is attached, was dropped")


def test_dead_rows_of_the_queue_are_vacuumed(connect: Connect) -> None:
    connection = connect()
    connection.execute("alter table sidecar.pending set (autovacuum_enabled = false)")
    connection.execute(
        "insert into sidecar.pending (attachment, key)"
        " select 1, jsonb_build_array(g) from generate_series(1, 51000) g"
    )
    connection.execute("delete from sidecar.pending")
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select 1")
    wait_for(connection, "select count(*) = 1 from sidecar.doctor() where finding ~ 'dead rows'")
    mend(connection, "dead rows")


def test_the_way_of_embed_text_is_mended(connect: Connect, database: str) -> None:
    connection = connect()
    connection.execute("alter server sidecar_loopback options (add host '/nowhere')")
    mend(connection, "cannot connect to its own database")
    assert [how for _, how in findings(connection, "no way to its own")] == ["sidecar migrate"]
    upgrade(database)
    assert findings(connection, "its own database") == []
    connection.execute("drop extension dblink cascade")
    mend(connection, "dblink is missing")
    assert [how for _, how in findings(connection, "no way to its own")] == ["sidecar migrate"]
    upgrade(database)
    assert findings(connection, "its own database") == []
    # The connection is tried in full: a password that is wrong is found too.
    connection.execute(
        sql.SQL("alter role {} password 'another'").format(
            sql.Identifier(
                str(
                    connection.execute(
                        "select o.option_value from pg_user_mappings u,"
                        " pg_options_to_table(u.umoptions) o"
                        " where u.srvname = 'sidecar_loopback' and o.option_name = 'user'"
                    ).fetchone()[0]  # type: ignore[index]
                )
            )
        )
    )
    connection.execute("alter server sidecar_loopback options (add host '127.0.0.1')")
    for _, printed in findings(connection, "cannot connect to its own database"):
        connection.execute(printed.encode())
        upgrade(database)
    assert findings(connection, "its own database") == []


def test_pgvector_in_a_schema_off_the_search_path(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body')")
    live()
    connection.execute("insert into note values (1, 'one')")
    wait_for(connection, "select body_embedding is not null from note")
    connection.execute("create schema extensions; alter extension vector set schema extensions")
    connection.execute("insert into note values (2, 'two')")
    wait_for(connection, "select count(body_embedding) = 2 from note")
    ((_, printed),) = findings(connection, "not on the search_path")
    connection.execute(printed.encode())
    later = connect()
    assert findings(later, "not on the search_path") == []
    later.execute("select count(*) from note where body_embedding <=> body_embedding < 1")


def test_rights_that_a_sidecars_role_lacks(
    connect: Connect, live: Start, database: str, role: Callable[..., str]
) -> None:
    connection = connect()
    url = role(database)
    worker = urlsplit(url).username
    connection.execute(
        "create schema place; create table place.note (id int primary key, body text)"
    )
    connection.execute("select sidecar.attach('place.note', 'body', index => 'none')")
    connection.execute(f"grant sidecar_worker to {worker}".encode())
    connection.execute("revoke usage on schema place from sidecar_worker")
    connection.execute("revoke all on place.note from sidecar_worker")
    connection.execute(
        "revoke select (id), update (body_embedding) on place.note from sidecar_worker"
    )
    live(url)
    connection.execute("insert into place.note values (1, 'one')")
    assert connection.execute("select role from sidecar.workers").fetchall() == [(worker,)]
    mend(connection, "has no rights on it")
    connection.execute("update sidecar.pending set due_at = now()")
    wait_for(connection, "select body_embedding is not null from place.note")
    connection.execute("alter table place.note enable row level security")
    mend(connection, "row-level security would hide")
    connection.execute("insert into place.note values (2, 'two')")
    wait_for(connection, "select count(body_embedding) = 2 from place.note")


def test_what_starting_a_sidecar_mends(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    connection.execute("insert into note values (1, 'one')")
    connection.execute("update sidecar.pending set queued_at = now() - interval '1 hour'")
    connection.execute(
        "insert into sidecar.worker (id, host, pid, device, model, version, last_heartbeat)"
        " values (gen_random_uuid(), 'dead', 1, 'cpu', 'm', '0', now() - interval '2 minutes')"
    )
    wanted = ("no sidecar is running", "wait for more than 5 minutes", "has not answered for")
    for words in wanted:
        assert [how for _, how in findings(connection, words)] == ["sidecar run"], words
    live(lease_seconds=1.0)
    wait_for(connection, "select count(*) = 0 from sidecar.doctor()")


def test_sidecars_of_a_model_that_answers_no_question(connect: Connect, live: Start) -> None:
    connection = connect()
    live()
    connection.execute("update sidecar.model set serving = false")
    connection.execute("insert into sidecar.model (name, width, serving) values ('m', 768, true)")
    ((_, printed),) = findings(connection, "sidecars are running, but none for m")
    assert re.fullmatch("VISION_MODEL_ID=m sidecar run", printed)
