"""What owners do to an attached table: columns and tables dropped, types altered, keys and tables
replaced, triggers added later."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
import pytest
from psycopg import errors

from sidecar.migrate import upgrade
from tests.database.test_attached_tables import NOTE, scalar, wait_for
from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]

LEFT = (
    "select (select count(*) from sidecar.pending) + (select count(*) from sidecar.failure)"
    " + (select count(*) from sidecar.attachment)"
    " + (select count(*) from pg_trigger where tgname ~ 'sidecar')"
    " + (select count(*) from pg_proc where proname ~ '^(queue|clear)_[0-9]+_')"
)
LOSSES = {
    "table": "drop table {}",
    "source": "alter table {} drop body cascade",
    "vector": "alter table {} drop body_embedding",
}


def doctor(connection: Connection, words: str) -> list[tuple[str, str]]:
    """Findings, with their mends, that hold these words."""
    return connection.execute(
        "select finding, mend from sidecar.doctor() where finding ~ %s", [words]
    ).fetchall()


def lose(connection: Connection) -> None:
    """Three attached tables, each with a pending row and a failure; each loses something else."""
    for table in LOSSES:
        connection.execute(NOTE.replace("note", table + "s").encode())
        connection.execute(
            "select sidecar.attach(%s, 'body', on_change => 'clear', index => 'none')",
            [table + "s"],
        )
        connection.execute(f"insert into {table}s values (1, 'one')".encode())
    connection.execute(
        "insert into sidecar.failure (attachment, key, error, message, attempts)"
        " select id, '[9]', 'crashed', '', 1 from sidecar.attachment"
    )
    for table, loss in LOSSES.items():
        connection.execute(loss.format(table + "s").encode())


def test_what_was_dropped_detaches_by_itself(connect: Connect, live: Start) -> None:
    connection = connect()
    lose(connection)
    for table in ("sources", "vectors"):
        connection.execute(f"insert into {table} (id) values (2)".encode())
    assert len(doctor(connection, "was dropped")) == 3
    live()
    wait_for(connection, LEFT.replace("select (", "select 0 = (", 1))
    assert doctor(connection, "was dropped") == []
    connection.execute("insert into vectors values (3, 'free'); truncate sources")


def test_what_was_dropped_while_it_is_being_written_detaches_too(
    connect: Connect, live: Start
) -> None:
    connection, writer = connect(), connect()
    for table in ("note", "other"):
        connection.execute(NOTE.replace("note", table).encode())
        connection.execute("select sidecar.attach(%s, 'body')", [table])
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into note select g, 'n' || g from generate_series(1, 50) g")
    sidecar.gates.wait("before_write")
    connection.execute("alter table note drop body_embedding")
    with writer.transaction():  # the sidecar does not wait for its lock, and tries again
        writer.execute("insert into note values (99, 'held')")
        sidecar.gates.let_go("before_write")
        connection.execute("insert into other values (1, 'one')")
        wait_for(connection, "select body_embedding is not null from other")
        connection.execute("select pg_sleep(2.5)")
        connection.execute("insert into note values (100, 'not locked out')")
    wait_for(connection, "select array_agg(target::text) = '{other}' from sidecar.attachment")
    wait_for(connection, "select count(*) = 0 from sidecar.pending")
    assert scalar(connection, "select count(*) from sidecar.failure") == 0


def test_an_upgrade_detaches_what_was_dropped_where_no_sidecar_runs(
    connect: Connect, database: str
) -> None:
    connection = connect()
    lose(connection)
    upgrade(database)
    assert scalar(connection, LEFT) == 0


def test_forget_lost_forgets_nothing_that_is_there(connect: Connect) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body')")
    assert scalar(connection, "select sidecar.forget_lost(1)") is False
    assert scalar(connection, "select sidecar.forget_lost(77)") is False
    assert scalar(connection, "select count(*) from sidecar.attachment") == 1


def test_orphans_of_a_detach_that_could_not_see_them_are_forgotten(
    connect: Connect, live: Start
) -> None:
    connection, detaching = connect(), connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body')")
    detaching.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with detaching.transaction():
        detaching.execute("select 1")
        connection.execute("insert into note values (1, 'unseen')")
        detaching.execute("select sidecar.detach('note', 'body')")
    assert scalar(connection, "select count(*) from sidecar.pending") == 1
    live()
    wait_for(connection, "select count(*) = 0 from sidecar.pending")


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_types_are_altered_between_before_alter_and_after_alter(
    connect: Connect, live: Start, database: str
) -> None:
    connection = connect()
    connection.execute(
        "create table note (id int primary key, body varchar(9), title text);"
        "select sidecar.attach('note', 'body', on_change => 'clear');"
        "select sidecar.attach('note', 'title')"
    )
    connection.execute("insert into note values (1, 'one', 'first'), (2, 'two', 'second')")
    with pytest.raises(errors.FeatureNotSupported):
        connection.execute("alter table note alter body type varchar(99)")
    sidecar = live()
    wait_until_quiet(connection)
    asked = sidecar.encoder.asked
    sidecar.gates.hold("before_write")
    connection.execute("insert into note values (3, 'three', 'third')")
    sidecar.gates.wait("before_write")
    with connection.transaction():
        connection.execute("select sidecar.before_alter('note')")
        connection.execute("alter table note alter body type varchar(99), alter id type bigint")
        connection.execute("select sidecar.after_alter('note')")
    sidecar.gates.let_go("before_write")
    connection.execute("insert into note values (9000000000, 'four', 'fourth')")
    connection.execute("update note set body = 'longer than nine characters' where id = 1")
    wait_until_quiet(connection)
    assert assert_right(connection) == 4
    rows = "(select title as body, title_embedding as body_embedding from note) as t"
    assert assert_right(connection, rows) == 4
    assert sidecar.encoder.asked <= asked + 12  # some twice, for their first write was refused
    with connection.transaction(force_rollback=True):
        connection.execute("select sidecar.before_alter('note')")
        connection.execute("alter table note alter body type int using length(body)")
        with pytest.raises(errors.ObjectNotInPrerequisiteState) as raised:
            connection.execute("select sidecar.after_alter('note')")
    assert "now has the type integer" in str(raised.value)
    assert "sidecar.detach" in (raised.value.diag.message_hint or "")


def test_a_table_that_does_not_fit_any_more_is_left_alone_and_named(
    connect: Connect, live: Start, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect()
    for table in ("narrow", "half", "hexed", "rekeyed", "keyless", "other"):
        connection.execute(NOTE.replace("note", table).encode())
        connection.execute("select sidecar.attach(%s, 'body', index => 'none')", [table])
        connection.execute(f"insert into {table} values (1, 'one')".encode())
    with caplog.at_level(logging.WARNING, "sidecar"):
        sidecar = live()
        wait_until_quiet(connection)
        sidecar.stop()
        connection.execute(
            "alter table narrow alter body_embedding type vector(3) using null;"
            "alter table half alter body_embedding type halfvec(768);"
            "alter table keyless drop constraint keyless_pkey;"
            "alter table rekeyed add number int default 5;"
            "begin; select sidecar.before_alter('rekeyed');"
            "alter table rekeyed drop constraint rekeyed_pkey, add primary key (number, id);"
            "select sidecar.install_triggers(id) from sidecar.attachment"
            " where target = 'rekeyed'::regclass; commit;"
            "begin; select sidecar.before_alter('hexed');"
            "alter table hexed alter body type bytea using body::bytea; commit"
        )
        changed = ("narrow", "half", "rekeyed", "keyless")
        for table in changed:
            connection.execute(f"update {table} set body = 'changed'".encode())
            connection.execute(f"insert into {table} (id, body) values (2, 'new')".encode())
        live()
        connection.execute("insert into other values (2, 'served')")
        wait_for(connection, "select count(body_embedding) = 2 from other")
        connection.execute("select pg_sleep(4.5)")  # it looked twice, and told once
        assert scalar(connection, "select count(*) from sidecar.pending") == 8
        connection.execute("insert into other values (3, 'served')")
        wait_for(connection, "select count(body_embedding) = 3 from other")
        told = [
            getattr(record, "finding", "")
            for record in caplog.records
            if record.message == "attachment_refused"
        ]
    assert len(told) == len(set(told)) == 5, told
    assert scalar(connection, "select count(*) from sidecar.failure") == 0
    findings = doctor(connection, "is not embedded")
    assert len(findings) == 5
    state, why = connection.execute(
        "select * from sidecar.explain('narrow', 'body', '[1]')"
    ).fetchone() or ("", "")
    assert state == "skipped"
    assert "vector(3)" in why
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as raised:
        connection.execute("call sidecar.wait('keyless', 'body')")
    assert "ADD PRIMARY KEY (id)" in (raised.value.diag.message_hint or "")
    for finding, mend in findings:
        if "hexed" not in finding:
            connection.execute(mend.encode())
    wait_until_quiet_but(connection, "hexed")
    for table in changed:
        assert assert_right(connection, table) == 2, table
    assert len(doctor(connection, "is not embedded")) == 1


def wait_until_quiet_but(connection: Connection, table: str) -> None:
    wait_for(
        connection,
        "select not exists (select from sidecar.attachment a"
        f" where a.target <> '{table}'::regclass and (a.backfill <> 'done'"
        "   or exists (select from sidecar.pending p where p.attachment = a.id)))",
    )


def test_a_table_that_was_replaced_by_renaming_is_named(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body', on_change => 'clear')")
    live()
    connection.execute("insert into note values (1, 'one')")
    wait_until_quiet(connection)
    connection.execute(
        "create table fresh (like note including all); insert into fresh select * from note;"
        "begin; alter table note rename to old; alter table fresh rename to note; commit"
    )
    connection.execute("insert into note values (2, 'unseen'); insert into old values (3, 'seen')")
    wait_until_quiet(connection)
    assert assert_right(connection, "old") == 2
    ((finding, mend),) = doctor(connection, "another table")
    assert "public.note" in finding
    assert "which is public.old now" in finding
    connection.execute("drop table old")
    connection.execute("select pg_sleep(2.5)")  # the sidecar has looked, and keeps the line
    assert doctor(connection, "another table")
    connection.execute(mend.encode())
    wait_for(connection, "select count(*) = 1 from sidecar.attachment")
    wait_until_quiet(connection)
    assert assert_right(connection) == 2
    assert scalar(connection, "select on_change from sidecar.attachment") == "clear"
    assert doctor(connection, "another table|was dropped") == []


def test_a_before_trigger_that_comes_later_is_noticed_by_the_sidecar(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    connection.execute(
        "create table note (id int primary key, title text, body text) partition by list (id);"
        "create table part partition of note default;"
        "create function titled() returns trigger language plpgsql as"
        " 'begin new.body := new.title; return new; end'"
    )
    connection.execute("select sidecar.attach('note', 'body', on_change => 'clear')")
    live()
    connection.execute("insert into note values (1, 'one', 'body')")
    wait_until_quiet(connection)
    connection.execute(
        "create trigger titled before update on part for each row execute function titled()"
    )
    assert doctor(connection, "BEFORE trigger")
    wait_for(
        connection,
        "select not exists (select from sidecar.doctor() where finding ~ 'BEFORE trigger')",
    )
    connection.execute("update note set title = 'two'")
    assert scalar(connection, "select body from note") == "two"
    wait_until_quiet(connection)
    assert assert_right(connection) == 1
