"""The promise, over both storages: whatever is done, every vector is that of its row's content."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest
from psycopg import errors

from tests.database.test_attached_tables import partitioned, scalar, wait_for
from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect
from tests.fix_sidecar import AnsweringSidecar
from tests.fix_storage import Storage

Connection = psycopg.Connection[Any]
NOTE = "create table note (id int primary key, body text, price int)"


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_rows_are_followed_from_before_attach_to_their_end(
    connect: Connect, live: Start, storage: Storage, database: str
) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("insert into note select g, 'n ' || g from generate_series(1, 50) g")
    storage.attach(connection)
    live()
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 50
    connection.execute("insert into note values (51, 'one'), (52, 'two'), (53, null)")
    connection.execute("update note set body = body || '!' where id < 9")
    connection.execute("update note set body = null where id in (10, 11)")
    connection.execute("update note set id = id + 100 where id in (12, 13)")
    connection.execute("delete from note where id in (14, 15)")
    connection.execute(
        "insert into note values (16, 'upserted'), (54, 'upserted')"
        " on conflict (id) do update set body = excluded.body"
    )
    with connection.transaction(force_rollback=True):
        connection.execute("update note set body = 'never'")
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 52
    assert connection.execute(
        "select rows, embedded, pending, failed, embedding_column from sidecar.status"
    ).fetchone() == (52, 49, 0, 0, "body_embedding")
    connection.execute("update note set price = 2")
    connection.execute("update note set body = body")
    assert scalar(connection, "select count(*) from sidecar.pending") == 0


def test_what_happens_to_a_row_while_the_model_has_it(
    connect: Connect, live: Start, storage: Storage
) -> None:
    connection = connect()
    connection.execute(NOTE)
    storage.attach(connection)
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into note select g, 'old ' || g from generate_series(1, 6) g")
    sidecar.gates.wait("before_write")
    connection.execute("update note set body = 'new' where id = 1")
    connection.execute("delete from note where id = 2")
    connection.execute("delete from note where id = 3")
    connection.execute("insert into note values (3, 'another with the same key')")
    connection.execute("update note set id = 7 where id = 4")
    connection.execute("update note set body = null where id = 5")
    sidecar.gates.let_go("before_write")
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 5
    assert scalar(connection, "select count(*) from sidecar.failure") == 0


@pytest.mark.parametrize("change", ["set body = 'changed'", "set id = 9", "delete"])
def test_a_row_that_the_application_holds_holds_no_other_up(
    connect: Connect, live: Start, storage: Storage, change: str
) -> None:
    connection, application = connect(), connect()
    connection.execute(NOTE)
    storage.attach(connection)
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into note values (1, 'held'), (2, 'free')")
    sidecar.gates.wait("before_write")
    with application.transaction():
        statement = "delete from note" if change == "delete" else f"update note {change}"
        application.execute(f"{statement} where id = 1".encode())
        sidecar.gates.let_go("before_write")
        wait_for(
            connection,
            f"select body_embedding is not null from {storage.shown()} where id = 2",
        )
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == (1 if change == "delete" else 2)
    assert scalar(connection, "select count(*) from sidecar.failure") == 0


@pytest.mark.parametrize("on_change", ["keep", "clear"])
def test_many_writers_and_two_sidecars_see_no_error_and_no_deadlock(
    connect: Connect, live: Start, storage: Storage, database: str, on_change: str
) -> None:
    connection = connect()
    connection.execute(NOTE)
    storage.attach(connection, on_change=on_change)
    connection.execute("insert into note select g, 'start ' || g from generate_series(1, 80) g")
    live(text_batch_size=16)
    live(text_batch_size=16)
    failures: list[Exception] = []

    def write(writer: int) -> None:
        random = np.random.default_rng(writer)
        try:
            with psycopg.connect(database) as own:
                for step in range(60):
                    # Rows in order, so that writers cannot deadlock with each other.
                    for row in sorted(int(row) for row in random.choice(100, 3, replace=False)):
                        text = f"{writer}/{step}"
                        match int(random.integers(0, 4)):
                            case 0:
                                own.execute("delete from note where id = %s", [row])
                            case 1:
                                own.execute("update note set body = %s where id = %s", [text, row])
                            case _:
                                own.execute(
                                    "insert into note values (%s, %s)"
                                    " on conflict (id) do update set body = excluded.body",
                                    [row, text],
                                )
                    (own.rollback if random.integers(0, 6) == 0 else own.commit)()
        except Exception as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(5)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert not failures
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) > 30
    assert scalar(connection, "select count(*) from sidecar.failure") == 0
    connection.execute("select pg_stat_force_next_flush()")
    assert (
        scalar(
            connection,
            "select deadlocks from pg_stat_database where datname = current_database()",
        )
        == 0
    )


def test_keys_of_many_types_and_awkward_names(
    connect: Connect, live: Start, storage: Storage
) -> None:
    connection = connect()
    connection.execute("create extension citext; create schema \"A 'b' %s\"")
    connection.execute("create domain code as text collate \"C\" check (value <> '')")
    table = '"A \'b\' %s"."No""te"'
    connection.execute(
        f"create table {table} (body text, model uuid, embedding code, word citext,"
        ' "a day" date, primary key (embedding, model, "a day", word))'.encode()
    )
    connection.execute(
        f"insert into {table} select 'n' || g, gen_random_uuid(), 'c' || g, 'W' || g,"
        " date '2026-01-01' + g from generate_series(1, 9) g".encode()
    )
    embedding = 'the "vector" of %s'
    storage.attach(connection, table, embedding=embedding)
    live()
    wait_until_quiet(connection)
    connection.execute(f"update {table} set body = 'changed' where embedding > 'c5'".encode())
    connection.execute(f"update {table} set \"a day\" = '2030-01-01'".encode())
    wait_until_quiet(connection)
    shown = table if storage.kind == "column" else '"A \'b\' %s"."No""te_with_the ""vector"" of %s"'
    seen = f'(select body, "the ""vector"" of %s" as body_embedding from {shown}) as seen'
    assert assert_right(connection, seen) == 9
    key = scalar(
        connection,
        'select jsonb_build_array(embedding, model, "a day"::text, word::text)::text'
        f" from {table} limit 1",
    )
    explain = connection.execute("select state from sidecar.explain(%s, 'body', %s)", [table, key])
    assert explain.fetchone() == ("current",)
    similar = f"select count(*) from sidecar.similar(null::{table}, $1, k => 20)"
    with psycopg.RawCursor(connection) as raw:
        assert raw.execute(similar.encode(), [key]).fetchone() == (8,)


def test_partitions_are_followed_and_rows_that_move_between_them(
    connect: Connect, live: Start, storage: Storage
) -> None:
    connection = connect()
    partitioned(connection)
    connection.execute("insert into note values ('from before', 'south', 1)")
    storage.attach(connection, on_change="clear")
    sidecar = live()
    connection.execute("insert into note values ('parent', 'north', 2), ('parent', 'south', 1003)")
    connection.execute("insert into shelf.low (id, region, body) values (5, 'south', 'straight')")
    wait_until_quiet(connection)
    connection.execute("update note set region = 'north', body = 'moved' where id = 1")
    connection.execute("update note set id = 4, body = 'moved' where id = 1003")
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 4
    sidecar.stop()
    connection.execute("update note set region = 'north', body = 'moved again' where id = 5")
    assert scalar(connection, f"select body_embedding is null from {storage.shown()} where id = 5")
    live()
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 4
    question = f"(select body_embedding from {storage.shown()} where id = 5)"
    search = f"select array_agg((item).id) from sidecar.search(null::north, {question})"
    assert sorted(scalar(connection, search)) == [1, 2, 5]


def test_clear_takes_a_changed_rows_vector_away_at_once(
    connect: Connect, live: Start, storage: Storage
) -> None:
    connection = connect()
    connection.execute(NOTE)
    storage.attach(connection, on_change="clear")
    connection.execute("insert into note values (1, 'one'), (2, 'two'), (3, 'three')")
    sidecar = live()
    wait_until_quiet(connection)
    sidecar.stop()
    connection.execute("alter table note rename id to number")
    connection.execute("update note set price = 2, body = body")
    connection.execute("update note set body = 'changed' where number = 1")
    connection.execute("update note set body = 'changed', number = 4 where number = 2")
    number = "number" if storage.kind == "column" else "id"
    vectors = f"select array_agg({number}) from {storage.shown()} where body_embedding is not null"
    assert scalar(connection, vectors) == [3]
    live()
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 3


def test_renames_break_no_write(connect: Connect, live: Start, storage: Storage) -> None:
    connection = connect()
    connection.execute("create schema place")
    connection.execute(NOTE.replace("note", "place.note"))
    storage.attach(connection, "place.note", on_change="clear")
    sidecar = live()
    connection.execute("insert into place.note values (1, 'one'), (2, 'two')")
    wait_until_quiet(connection)
    sidecar.stop()
    steps = [
        ("alter table place.note rename id to number", "place.note", "number", "body"),
        ("alter table place.note rename body to text", "place.note", "number", "text"),
        ("alter table place.note rename to memo", "place.memo", "number", "text"),
        ('alter schema place rename to "Room"', '"Room".memo', "number", "text"),
    ]
    if storage.kind == "table":
        for rename in (
            'alter table "Room".note_body_embedding rename to "V"',
            'alter table "Room"."V" rename embedding to "E"',
            'alter table "Room"."V" rename id to "K"',
        ):
            steps.append((rename, *steps[-1][1:]))
    for step, (rename, table, key, source) in enumerate(steps, start=10):
        for statement in (
            rename,
            f"insert into {table} ({key}, {source}) values ({step}, 'n {step}')",
            f"update {table} set {source} = 'changed at {step}' where {key} = 1",
            f"update {table} set {key} = {step + 100} where {key} = {step}",
        ):
            connection.execute(statement.encode())
    live()
    wait_until_quiet(connection)
    body, shown = ("text", "memo") if storage.kind == "column" else ("body", storage.shown())
    seen = f'(select {body} as body, body_embedding from "Room".{shown}) as seen'
    assert assert_right(connection, seen) == 2 + len(steps)
    connection.execute("""select sidecar.detach('"Room".memo', 'text', drop_column => true)""")
    assert vector_columns(connection) == 0


def vector_columns(connection: Connection) -> int:
    """Columns of vectors outside of the schema sidecar."""
    count = scalar(
        connection,
        "select count(*) from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " where a.atttypid = 'vector'::regtype and c.relkind in ('r', 'p', 'v')"
        " and c.relnamespace <> 'sidecar'::regnamespace and not a.attisdropped",
    )
    return int(count)


def test_reembed_retry_pause_and_wait(connect: Connect, live: Start, storage: Storage) -> None:
    connection = connect()
    connection.execute(NOTE)
    storage.attach(connection)
    connection.execute("insert into note values (1, 'one'), (2, ' '), (3, 'three')")
    sidecar = live()
    connection.execute("call sidecar.wait('note', 'body')")
    assert assert_right(connection, storage.shown()) == 3
    states = (
        "select array_agg(e.state order by n.id) from note n,"
        " sidecar.explain('note', 'body', jsonb_build_array(n.id)) e"
    )
    assert scalar(connection, states) == ["current", "failed", "current"]
    assert scalar(connection, "select sidecar.retry('note', 'body')") == 1
    connection.execute("update note set body = 'no longer empty' where id = 2")
    connection.execute("call sidecar.wait('note', 'body')")
    assert scalar(connection, states) == ["current"] * 3
    asked = sidecar.encoder.asked
    connection.execute("select sidecar.reembed('note', 'body')")
    wait_until_quiet(connection)
    assert sidecar.encoder.asked == asked + 3
    connection.execute("select sidecar.pause('note', 'body')")
    connection.execute("update note set body = 'paused'")
    assert scalar(connection, states) == ["pending"] * 3
    connection.execute("select sidecar.resume('note', 'body')")
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 3


def test_detach_attach_and_adopt(connect: Connect, live: Start, storage: Storage) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("insert into note select g, 'n' || g from generate_series(1, 5) g")
    storage.attach(connection)
    sidecar = live()
    wait_until_quiet(connection)
    connection.execute("select sidecar.detach('note', 'body')")
    connection.execute("insert into note values (6, 'unseen')")
    if storage.kind == "table":  # there the content hash tells what changed meanwhile
        connection.execute("update note set body = 'changed' where id = 1")
        connection.execute("update note set body = null where id = 2")
    sidecar.encoder.asked = 0
    storage.attach(connection, adopt=True)
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 6
    assert sidecar.encoder.asked == (1 if storage.kind == "column" else 2)
    connection.execute("select sidecar.detach('note', 'body')")
    connection.execute("update note set body = 'changed again'")
    storage.attach(connection)
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 6
    connection.execute("select sidecar.detach('note', 'body', drop_column => true)")
    assert vector_columns(connection) == 0
    storage.attach(connection, backfill=False)
    wait_until_quiet(connection)
    assert scalar(connection, f"select count(body_embedding) from {storage.shown()}") == 0


def test_an_index_is_there_at_once_or_after_the_backfill_and_search_uses_it(
    connect: Connect, storage: Storage, answering_sidecar: AnsweringSidecar, live: Start
) -> None:
    connection = connect()
    for table in ("note", "empty"):
        connection.execute(NOTE.replace("note", table))
    connection.execute("insert into note select g, 'n' || g from generate_series(1, 300) g")
    indexes = (
        "select array_agg(split_part(c.relname, '_', 1) order by 1) from pg_index i"
        " join pg_class c on c.oid = i.indexrelid"
        " join pg_am m on m.oid = c.relam where m.amname = 'hnsw' and i.indisvalid"
    )
    for table in ("note", "empty"):
        storage.attach(connection, table, index="hnsw")
    assert scalar(connection, indexes) == ["empty"]
    answering_sidecar.stop()
    live()
    wait_for(connection, f"select array['empty', 'note'] = ({indexes})")
    wait_until_quiet(connection)
    connection.execute("set enable_seqscan = off; select pg_stat_reset()")
    row = connection.execute(
        "select (item).body, distance from sidecar.search(null::note, 'n77', k => 50)"
    ).fetchall()
    assert len(row) == 50
    assert row[0][0] == "n77"
    assert row[0][1] == pytest.approx(0, abs=1e-6)
    connection.execute("select pg_stat_force_next_flush()")
    scans = "select idx_scan from pg_stat_user_indexes where indexrelname like 'note%embedding%idx'"
    assert scalar(connection, scans) == 1


def test_the_role_sidecar_worker_and_an_application_have_no_right_too_many(
    connect: Connect, live: Start, storage: Storage, database: str, role: Callable[..., str]
) -> None:
    connection = connect()
    # As some clouds have it: everybody may do everything with what is made later.
    connection.execute("alter default privileges in schema public grant all on tables to public")
    connection.execute("create table note (id int primary key, body text, secret text)")
    connection.execute("revoke all on note from public")
    storage.attach(connection, on_change="clear")
    url, application = role(database), connect(role(database))
    connection.execute(f"grant sidecar_worker to {urlsplit(url).username}".encode())
    connection.execute(
        f"grant insert, update, delete, select on note to {application.info.user}".encode()
    )
    live(url)
    application.execute("insert into note values (1, 'one'), (2, 'two'), (3, 'three')")
    wait_until_quiet(connection)
    application.execute("update note set body = 'changed' where id = 1")
    application.execute("update note set body = null, id = 7 where id = 2")
    application.execute("delete from note where id = 3")
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 2
    worker = connect(url)
    reaches = ["select secret from note", "update note set body = 'x'", "update note set id = 9"]
    if storage.kind == "table":
        reaches += ["select * from note_body_embedding", "delete from note_body_embedding"]
    for reach in reaches:
        with pytest.raises(errors.InsufficientPrivilege):
            worker.execute(reach.encode())
    if storage.kind == "table":
        with pytest.raises(errors.ObjectNotInPrerequisiteState):
            worker.execute("update sidecar_1_rows set k1 = 9")
        for view in ("rows", "vectors"):
            with pytest.raises(errors.InsufficientPrivilege):
                application.execute(f"select * from sidecar_1_{view}".encode())
        with pytest.raises(errors.InsufficientPrivilege):
            application.execute("delete from note_body_embedding")


def test_the_database_cuts_every_connection(
    connect: Connect, live: Start, storage: Storage
) -> None:
    connection = connect()
    connection.execute(NOTE)
    storage.attach(connection)
    sidecar = live(lease_seconds=2.0)
    sidecar.gates.hold("before_write")
    connection.execute("insert into note select g, 'note ' || g from generate_series(1, 50) g")
    sidecar.gates.wait("before_write")
    connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name = 'sidecar'"
    )
    connection.execute("update note set body = 'changed' where id < 20")
    sidecar.gates.let_go("before_write")
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 50


def test_a_slow_sidecars_older_result_never_overwrites_a_newer_one(
    connect: Connect, live: Start, storage: Storage
) -> None:
    connection = connect()
    connection.execute(NOTE)
    storage.attach(connection)
    sidecar = live(lease_seconds=1000.0)
    sidecar.gates.hold("before_write")
    connection.execute("insert into note values (1, 'old')")
    sidecar.gates.wait("before_write")
    connection.execute("update sidecar.pending set lease_until = now() - interval '1 s'")
    wait_for(connection, "select attempts = 2 from sidecar.pending")
    connection.execute("update note set body = 'new'")
    sidecar.gates.let_go("before_write")
    wait_until_quiet(connection)
    assert assert_right(connection, storage.shown()) == 1
