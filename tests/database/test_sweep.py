"""The sweep finds what no trigger saw, and queues nothing that needs no embedding."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tests.database.test_attached_tables import NOTE, partitioned, scalar, wait_for
from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]
ALL = "select bool_and((body is null) = (body_embedding is null)) from note"


def attached(connection: Connection, rows: int = 3, **options: str) -> None:
    connection.execute(NOTE.encode())
    arguments = "".join(f", {name} => {value}" for name, value in options.items())
    connection.execute(f"select sidecar.attach('note', 'body', index => 'none'{arguments})")
    connection.execute("insert into note select g, 'n' || g from generate_series(1, %s) g", [rows])


def unseen(connection: Connection, statement: str) -> None:
    """Runs it as a replica does: no trigger fires."""
    connection.execute("set session_replication_role = replica")
    connection.execute(statement)
    connection.execute("reset session_replication_role")


def wait_for_a_pass(connection: Connection, seconds: float = 20) -> None:
    """Returns after one whole pass that began after now."""
    connection.execute("update sidecar.sweep set phase = 'failures', after = null, due_at = now()")
    wait_for(connection, "select bool_and(phase = 'idle') from sidecar.sweep", seconds)


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_rows_that_a_replica_role_wrote(connect: Connect, live: Start, database: str) -> None:
    connection = connect()
    attached(connection)
    live(sweep_seconds=1)
    wait_until_quiet(connection)
    unseen(
        connection,
        "insert into note values (10, 'unseen'); update note set body = null where id = 1;"
        "update note set body_embedding = null where id = 2",
    )
    wait_for(connection, ALL)
    wait_until_quiet(connection)
    assert assert_right(connection) == 4


@pytest.mark.parametrize("in_one_transaction", [True, False])
def test_rows_written_while_triggers_were_disabled_are_found_at_once(
    connect: Connect, live: Start, in_one_transaction: bool
) -> None:
    connection = connect()
    attached(connection)
    sidecar = live()  # passes are an hour apart
    wait_until_quiet(connection)
    wait_for(connection, "select exists (select from sidecar.sweep)")
    if in_one_transaction:
        connection.execute("begin")
    connection.execute("alter table note disable trigger user")
    connection.execute("insert into note select g, 'n' || g from generate_series(11, 15) g")
    if not in_one_transaction:
        wait_for_a_pass(connection)
    connection.execute("insert into note values (20, 'n20')")
    connection.execute("alter table note enable trigger user")
    if in_one_transaction:
        connection.execute("commit")
    wait_for(connection, ALL)
    assert assert_right(connection) == 9
    assert sidecar.encoder.asked == 9


def test_an_attached_partition_is_found_at_once(connect: Connect, live: Start) -> None:
    connection = connect()
    partitioned(connection)
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    live()
    connection.execute("insert into note values ('before', 'north', 1)")
    wait_until_quiet(connection)
    wait_for(connection, "select exists (select from sidecar.sweep)")
    connection.execute(
        "create table west (body_embedding public.vector(768), id int not null,"
        " region text not null, body text);"
        "insert into west (id, region, body) select g, 'west', 'w' || g"
        " from generate_series(1, 20) g;"
        "alter table note attach partition west for values in ('west')"
    )
    wait_for(connection, ALL)
    wait_until_quiet(connection)
    assert assert_right(connection) == 21


def test_what_is_pending_or_failed_is_not_queued_by_the_sweep(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    attached(connection, 5)
    connection.execute("insert into note values (6, '   ')")
    sidecar = live(sweep_seconds=1)
    wait_until_quiet(connection)
    assert (
        scalar(connection, "select count(*) from sidecar.failure where error = 'text_empty'") == 1
    )
    asked = sidecar.encoder.asked
    failed_at = scalar(connection, "select failed_at from sidecar.failure")
    sidecar.gates.hold("before_write")
    connection.execute("update note set body = 'changed', body_embedding = null where id < 3")
    sidecar.gates.wait("before_write")
    generations = "select array_agg(generation order by key) from sidecar.pending"
    before = scalar(connection, generations)
    wait_for_a_pass(connection)
    assert scalar(connection, generations) == before
    sidecar.gates.let_go("before_write")
    wait_until_quiet(connection)
    wait_for_a_pass(connection)
    assert scalar(connection, "select count(*) from sidecar.pending") == 0
    assert sidecar.encoder.asked == asked + 2
    wait_until_quiet(connection)
    assert scalar(connection, "select failed_at from sidecar.failure") == failed_at


def test_failures_that_stand_for_nothing_are_forgotten(connect: Connect, live: Start) -> None:
    connection = connect()
    attached(connection, 2)
    connection.execute("insert into note select g, ' ' from generate_series(11, 14) g")
    live(sweep_seconds=1)
    wait_until_quiet(connection)
    assert scalar(connection, "select count(*) from sidecar.failure") == 4
    connection.execute("delete from note where id = 11")
    unseen(
        connection,
        "update note set body = null where id = 12;"
        "update note set body = null, body_embedding = (select n.body_embedding from note n"
        " where n.id = 1) where id = 13",
    )
    wait_for(connection, "select count(*) = 1 and min(key::text) = '[14]' from sidecar.failure")
    wait_until_quiet(connection)
    assert assert_right(connection, where="id < 14") == 4


def test_a_table_that_was_told_to_be_left_alone_is_until_reembed(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    connection.execute(NOTE.encode())
    connection.execute("insert into note values (1, 'from before'), (2, 'too')")
    connection.execute("select sidecar.attach('note', 'body', backfill => false)")
    live(sweep_seconds=1)
    connection.execute("insert into note values (3, 'new')")
    wait_until_quiet(connection)
    wait_for(connection, "select exists (select from sidecar.sweep)")
    unseen(connection, "update note set body = null where id = 3")
    wait_for(connection, "select body_embedding is null from note where id = 3")
    assert scalar(connection, "select count(body_embedding) from note") == 0
    connection.execute("select sidecar.reembed('note', 'body')")
    wait_until_quiet(connection)
    assert assert_right(connection) == 3
    unseen(connection, "insert into note values (4, 'unseen')")
    wait_for(connection, ALL)


def test_a_pass_goes_in_slices_and_on_where_it_stopped(connect: Connect, live: Start) -> None:
    connection = connect()
    attached(connection, 1)
    first = live()
    wait_until_quiet(connection)
    wait_for(connection, "select exists (select from sidecar.sweep)")
    unseen(connection, "insert into note select g, 'n' || g from generate_series(2, 6000) g")
    first.gates.hold("before_model")
    connection.execute("update sidecar.sweep set phase = 'rows', due_at = now()")
    wait_for(connection, "select (after ->> 0)::int >= 2000 from sidecar.sweep")
    stopping = threading.Thread(target=first.stop)
    stopping.start()
    first.gates.let_go("before_model")
    stopping.join()
    place = scalar(connection, "select (after ->> 0)::int from sidecar.sweep")
    assert 2000 <= place < 6000
    # Had it begun again, it would find this one.
    unseen(connection, "update note set body_embedding = null where id = 1")
    live()
    wait_for(connection, "select phase = 'idle' from sidecar.sweep", 60)
    wait_until_quiet(connection, 60)
    assert scalar(connection, "select count(*) from note where body_embedding is null") == 1


def test_a_table_that_nobody_writes_to_is_not_read(connect: Connect, live: Start) -> None:
    connection = connect()
    attached(connection)
    live(sweep_seconds=1)
    wait_until_quiet(connection)
    wait_for(connection, "select exists (select from sidecar.sweep)")
    # Counts arrive some seconds late, and each then is a reason for a pass.
    began, calm = None, 0
    for _ in range(40):
        before = connection.execute("select began_at, due_at from sidecar.sweep").fetchone()
        assert before
        wait_for(connection, f"select due_at > '{before[1]}' from sidecar.sweep")
        calm = calm + 1 if before[0] == began else 0
        began = before[0]
        if calm == 2:
            return
    pytest.fail("pass followed pass over a table that nobody wrote to")


def test_the_sweep_keeps_no_writer_waiting(connect: Connect, live: Start) -> None:
    connection = connect()
    attached(connection, 1)
    live()
    wait_until_quiet(connection)
    wait_for(connection, "select exists (select from sidecar.sweep)")
    unseen(connection, "insert into note select g, 'n' || g from generate_series(2, 100) g")
    with connect() as application, application.transaction():
        application.execute("update note set body = 'held' where id = 50")
        connection.execute("update sidecar.sweep set phase = 'rows', due_at = now()")
        wait_for(connection, "select (after ->> 0)::int >= 40 from sidecar.sweep")
        # Its own statements wait for nothing for a second, or this would be a deadlock.
        application.execute("set local deadlock_timeout = '100ms'")
        application.execute("update note set body = 'also' where id in (1, 40, 60)")
    wait_until_quiet(connection)
    wait_for(connection, ALL)
    wait_until_quiet(connection)
    assert assert_right(connection) == 100


@pytest.mark.parametrize("backfill", ["missing", "all"])
def test_a_backfill_keeps_no_writer_waiting(connect: Connect, live: Start, backfill: str) -> None:
    connection = connect()
    attached(connection, 0)
    unseen(connection, "insert into note select g, 'n' || g from generate_series(1, 100) g")
    with connect() as application, application.transaction():
        application.execute("update note set body = 'held' where id = 50")
        connection.execute("update sidecar.attachment set backfill = %s", [backfill])
        live()
        wait_for(connection, "select (backfill_after ->> 0)::int >= 40 from sidecar.attachment")
        application.execute("set local deadlock_timeout = '100ms'")
        application.execute("update note set body = 'also' where id in (1, 40, 60)")
    wait_until_quiet(connection)
    assert assert_right(connection) == 100


def test_a_table_that_refuses_holds_no_other_up(connect: Connect, live: Start) -> None:
    connection = connect()
    attached(connection)
    connection.execute(NOTE.replace("note", "other").encode())
    bad = scalar(connection, "select sidecar.attach('other', 'body')")
    live()
    wait_until_quiet(connection)
    wait_for(connection, "select count(*) = 2 from sidecar.sweep")
    unseen(connection, "insert into note values (9, 'unseen')")
    connection.execute(
        "update sidecar.sweep set phase = 'rows', due_at = now(),"
        """ after = case attachment when %s then '["no number"]'::jsonb end""",
        [bad],
    )
    wait_for(connection, ALL)
    wait_for(
        connection,
        f"select due_at > now() + interval '30 s' from sidecar.sweep where attachment = {bad}",
    )


def test_detach_forgets_the_sweep(connect: Connect, live: Start) -> None:
    connection = connect()
    attached(connection)
    live(lease_seconds=1)
    wait_for(connection, "select exists (select from sidecar.sweep)")
    connection.execute("select sidecar.detach('note', 'body')")
    wait_for(connection, "select not exists (select from sidecar.sweep)")
