"""pause, resume, retry, reembed and detach; locks; the backfill of a large table."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.database.test_attached_tables import HNSW, NOTE, scalar, wait_for
from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_pause_queues_and_resume_serves(connect: Connect, live: Start, database: str) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute(NOTE.replace("note", "other"))
    for table in ("note", "other"):
        connection.execute("select sidecar.attach(%s, 'body')", [table])
    connection.execute("select sidecar.pause('note', 'body')")
    live()
    connection.execute("insert into note values (1, 'one')")
    connection.execute("insert into other values (1, 'one')")
    wait_for(connection, "select body_embedding is not null from other")
    assert scalar(connection, "select body_embedding is null from note")
    assert scalar(connection, "select count(*) from sidecar.pending") == 1
    connection.execute("select sidecar.resume('note', 'body')")
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


def test_retry_takes_all_failures_or_those_with_one_code(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text, picture bytea)")
    connection.execute("select sidecar.attach('note', 'body')")
    connection.execute(
        "insert into sidecar.failure (attachment, key, error, message, attempts)"
        " select a.id, jsonb_build_array(g), case when g < 3 then 'crashed' else 'other' end, '', 5"
        " from sidecar.attachment a, generate_series(1, 5) g"
    )
    retry = "select sidecar.retry('note', 'body', error => 'crashed')"
    assert scalar(connection, retry) == 2
    assert scalar(connection, "select min(error) from sidecar.failure") == "other"
    assert scalar(connection, retry) == 0
    assert scalar(connection, "select sidecar.retry('note', 'body')") == 3
    assert scalar(connection, "select count(*) from sidecar.pending where lane = 2") == 5
    connection.execute("insert into note values (1, 'one')")
    live()
    wait_until_quiet(connection)
    assert assert_right(connection) == 1
    for call in ("retry", "pause", "resume", "reembed", "detach"):
        with pytest.raises(errors.ObjectNotInPrerequisiteState) as raised:
            connection.execute(f"select sidecar.{call}('note', 'picture')")
        assert "sidecar.attach('public.note', 'picture')" in (raised.value.diag.message_hint or "")


def test_reembed_makes_every_vector_again(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body')")
    connection.execute(
        "insert into note select g, nullif('n' || g, 'n7'), array_fill(1, array[768])::vector"
        " from generate_series(1, 50) g"
    )
    connection.execute("delete from sidecar.pending")
    connection.execute("select sidecar.reembed('note', 'body')")
    live()
    wait_until_quiet(connection)
    assert assert_right(connection) == 50


def test_detach_keeps_the_vectors_or_drops_the_column(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body')")
    live()
    connection.execute("insert into note values (1, 'one')")
    wait_until_quiet(connection)
    for drop in (False, True):
        connection.execute("insert into note select max(id) + 1, 'more' from note")
        connection.execute("select sidecar.detach('note', 'body', drop_column => %s)", [drop])
        left = (
            "select count(*) from pg_trigger where tgrelid = 'note'::regclass"
            " union all select count(*) from sidecar.attachment"
            " union all select count(*) from sidecar.pending"
            " union all select count(*) from pg_proc where proname ~ '^(queue|clear)_[0-9]'"
        )
        assert connection.execute(left).fetchall() == [(0,)] * 4
        if not drop:
            assert assert_right(connection, where="id = 1") == 1
            # What changes while nobody looks is embedded again, a row that has a vector too.
            connection.execute("update note set body = 'unseen ' || id")
            connection.execute("select sidecar.attach('note', 'body')")
            wait_until_quiet(connection)
            assert assert_right(connection) == 2
    with pytest.raises(errors.UndefinedColumn):
        connection.execute("select body_embedding from note")
    connection.execute("select sidecar.attach('note', 'body')")
    wait_until_quiet(connection)
    assert assert_right(connection) == 3


def test_detach_takes_back_the_rights_that_no_other_attachment_needs(connect: Connect) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text, other text)")
    for column in ("body", "other"):
        connection.execute("select sidecar.attach('note', %s)", [column])
    rights = (
        "select array_agg(column_name::text order by column_name, privilege_type)"
        " from information_schema.column_privileges"
        " where grantee = 'sidecar_worker' and table_name = 'note'"
    )
    connection.execute("select sidecar.detach('note', 'body')")
    assert scalar(connection, rights) == ["id", "other", "other_embedding", "other_embedding"]
    connection.execute("select sidecar.detach('note', 'other')")
    assert scalar(connection, rights) is None


def test_detach_in_the_midst_of_work_leaves_nothing_behind(connect: Connect, live: Start) -> None:
    connection = connect()
    for table in ("note", "other"):
        connection.execute(NOTE.replace("note", table))
        connection.execute("select sidecar.attach(%s, 'body')", [table])
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into note select g, 'n' || g from generate_series(1, 300) g")
    sidecar.gates.wait("before_write")
    connection.execute("select sidecar.detach('note', 'body', drop_column => true)")
    sidecar.gates.let_go("before_write")
    connection.execute("insert into other values (1, 'one')")
    wait_until_quiet(connection)
    assert assert_right(connection, "other") == 1


def test_detach_does_not_deadlock_with_a_backfill(connect: Connect) -> None:
    connection, feeding, reader = connect(), connect(), connect()
    connection.execute(NOTE)
    connection.execute("insert into note values (1, 'one')")
    connection.execute("select sidecar.attach('note', 'body')")
    detach = threading.Thread(
        target=connection.execute, args=["select sidecar.detach('note', 'body')"]
    )
    with feeding.transaction():
        feeding.execute("select from sidecar.attachment for no key update")
        detach.start()
        wait_for(
            reader, "select exists (select from pg_stat_activity where wait_event_type = 'Lock')"
        )
        feeding.execute("set local lock_timeout = '1s'")
        feeding.execute("select count(*) from note")
    detach.join()
    assert scalar(reader, "select count(*) from sidecar.attachment") == 0


def locks(connection: Connection, table: str) -> set[str]:
    """The modes that this session's transaction holds on a table."""
    return {
        row[0]
        for row in connection.execute(
            "select mode from pg_locks where pid = pg_backend_pid() and relation = %s::regclass",
            [table],
        ).fetchall()
    }


def test_locks_on_the_users_table_are_those_that_the_functions_name(connect: Connect) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("insert into note values (1, 'one')")
    with connection.transaction():
        connection.execute("select sidecar.attach('note', 'body')")
        assert "AccessExclusiveLock" in locks(connection, "note")
    with connection.transaction():
        connection.execute("select sidecar.attach('note', 'body')")
        assert locks(connection, "note") <= {"AccessShareLock"}
    with connection.transaction():
        for call in ("pause", "resume", "retry", "reembed"):
            connection.execute(f"select sidecar.{call}('note', 'body')")
        assert locks(connection, "note") <= {"AccessShareLock"}
    with connection.transaction():
        connection.execute("select sidecar.detach('note', 'body')")
        assert "AccessExclusiveLock" in locks(connection, "note")
    with connection.transaction():
        connection.execute("select sidecar.attach('note', 'body')")
        held = locks(connection, "note")
        assert "ShareRowExclusiveLock" in held
        assert "AccessExclusiveLock" not in held


def test_the_sidecars_index_build_lets_writers_write(connect: Connect, live: Start) -> None:
    connection, holder = connect(), connect()
    connection.execute(NOTE)
    connection.execute("insert into note select g, 'n' || g from generate_series(1, 200) g")
    connection.execute("select sidecar.attach('note', 'body')")
    with holder.transaction():
        holder.execute("lock table note in row exclusive mode")
        live()
        wait_for(
            connection,
            "select coalesce(bool_or(l.granted and l.mode = 'ShareUpdateExclusiveLock'), false)"
            " from pg_locks l where l.relation = 'note'::regclass",
        )
        connection.execute("insert into note values (201, 'while it is built')")
    wait_for(connection, f"select cardinality(names) = 1 from ({HNSW}) as i (names)")
    wait_until_quiet(connection)
    assert assert_right(connection) == 201


def test_a_backfill_goes_in_slices_and_goes_on_where_it_stopped(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("insert into note select g, 'n' || g from generate_series(1, 200000) g")
    connection.execute("analyze note")
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    assert scalar(connection, "select count(*) from sidecar.pending") == 0
    most: list[int] = []
    watching = threading.Event()
    watcher = connect()

    def watch() -> None:
        while not watching.is_set():
            most.append(scalar(watcher, "select count(*) from sidecar.pending"))
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        first = live(text_batch_size=512, lease_seconds=2)
        wait_for(
            connection,
            "select coalesce((backfill_after->>0)::int, 0) >= 40000 from sidecar.attachment",
            120,
        )
        first.gates.hold("before_write")
        first.gates.wait("before_write")
        stopping = threading.Thread(target=first.stop)
        stopping.start()
        place = scalar(connection, "select (backfill_after->>0)::int from sidecar.attachment")
        second = live(text_batch_size=512, lease_seconds=2)
        first.gates.let_go("before_write")
        stopping.join()
        wait_until_quiet(connection, 240)
    finally:
        watching.set()
        thread.join()
    assert place < 200_000
    assert max(most) <= 16_000
    assert scalar(connection, "select count(*) from note where body_embedding is null") == 0
    assert first.encoder.asked + second.encoder.asked < 206_000
    assert assert_right(connection, where="id % 199 = 0") > 1000
