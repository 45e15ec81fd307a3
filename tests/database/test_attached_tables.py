"""Attached tables that are partitioned, renamed, dropped, written by BEFORE triggers or by a role
with no other right."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors

from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]
NOTE = "create table note (id int primary key, body text)"


def scalar(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def wait_for(connection: Connection, query: str, seconds: float = 30) -> None:
    """Returns when the query says true."""
    deadline = time.monotonic() + seconds
    while scalar(connection, query) is not True:
        assert time.monotonic() < deadline, query
        time.sleep(0.05)


def partitioned(connection: Connection) -> None:
    """note, by region; of region south again by id, into a schema of their own."""
    connection.execute(
        "create schema shelf;"
        "create table note (body text, region text, id int, primary key (region, id))"
        " partition by list (region);"
        "create table north partition of note for values in ('north');"
        "create table south partition of note for values in ('south') partition by range (id);"
        "create table shelf.low (id int not null, region text not null, body text);"
        "alter table south attach partition shelf.low for values from (0) to (1000);"
        "create table shelf.high partition of south for values from (1000) to (100000)"
    )


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_rows_of_a_partitioned_table_are_followed_however_they_come(
    connect: Connect, live: Start, database: str
) -> None:
    connection = connect()
    partitioned(connection)
    connection.execute("insert into note values ('from before', 'south', 1)")
    connection.execute("select sidecar.attach('note', 'body', on_change => 'clear')")
    live()
    connection.execute("insert into note values ('parent', 'north', 2), ('parent', 'south', 1003)")
    connection.execute("insert into north (id, region, body) values (4, 'north', 'straight')")
    connection.execute("insert into shelf.low (id, region, body) values (5, 'south', 'straight')")
    for table in ("note", "shelf.high"):
        with (
            connection.cursor() as cursor,
            cursor.copy(f"copy {table} (id, region, body) from stdin") as copy,
        ):
            for number in range(2000, 2050):
                copy.write_row([number + (50 if table == "note" else 0), "south", f"n {number}"])
    wait_until_quiet(connection)
    assert assert_right(connection) == 105
    connection.execute("update note set region = 'north' where id = 1")
    connection.execute("update note set id = id - 1000, body = body || '!' where id >= 2040")
    connection.execute("update shelf.low set body = 'changed' where id = 5")
    wait_until_quiet(connection)
    assert assert_right(connection) == 105
    connection.execute("create table west partition of note for values in ('west')")
    connection.execute("insert into west (id, region, body) values (1, 'west', 'new')")
    connection.execute("insert into note values ('new', 'west', 2)")
    wait_until_quiet(connection)
    assert assert_right(connection) == 107
    assert scalar(connection, "select count(*) from sidecar.failure") == 0


def test_a_partitioned_tables_index_is_built_leaf_by_leaf_after_the_backfill(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    partitioned(connection)
    connection.execute(
        "insert into note select 'n' || g, (array['north', 'south'])[1 + g % 2], g"
        " from generate_series(1, 2000) g"
    )
    connection.execute("select sidecar.attach('note', 'body')")
    assert scalar(connection, HNSW) == []
    live()
    wait_until_quiet(connection)
    wait_for(connection, "select cardinality(names) = 5 and valid from (" + HNSW_VALID + ") as i")
    connection.execute("create table west partition of note for values in ('west')")
    assert len(scalar(connection, HNSW)) == 6
    assert (
        scalar(connection, "select count(*) from sidecar.doctor() where finding ~ 'HNSW|index'")
        == 0
    )
    time.sleep(2.5)
    assert len(scalar(connection, HNSW)) == 6
    assert assert_right(connection) == 2000


HNSW = (
    "select coalesce(array_agg(c.relname::text order by 1), '{}') from pg_class c"
    " join pg_am m on m.oid = c.relam where m.amname = 'hnsw'"
)
HNSW_VALID = (
    "select array_agg(c.relname::text) as names, bool_and(i.indisvalid) as valid from pg_class c"
    " join pg_index i on i.indexrelid = c.oid"
    " join pg_am m on m.oid = c.relam where m.amname = 'hnsw'"
)


def test_an_index_is_built_after_the_backfill_and_an_invalid_one_is_replaced(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("insert into note select g, 'n' || g from generate_series(1, 500) g")
    connection.execute("alter table note add body_embedding vector(768)")
    other = connect()
    with other.transaction():
        other.execute("update note set id = id where id = 1")
        connection.execute("set statement_timeout = '500ms'")
        with pytest.raises(errors.QueryCanceled):
            connection.execute(
                "create index concurrently left_over on note"
                " using hnsw (body_embedding vector_cosine_ops)"
            )
    connection.execute("set statement_timeout = 0")
    assert scalar(
        connection, "select not indisvalid from pg_index where indexrelid = 'left_over'::regclass"
    )
    connection.execute("select sidecar.attach('note', 'body')")
    live()
    wait_until_quiet(connection)
    wait_for(connection, "select cardinality(names) = 1 and valid from (" + HNSW_VALID + ") as i")
    assert scalar(connection, HNSW) != ["left_over"]
    connection.execute("set enable_seqscan = off")
    plan = connection.execute(
        "explain select id from note"
        " order by body_embedding <=> array_fill(1, array[768])::vector limit 3"
    ).fetchall()
    assert "Index Scan using" in str(plan)


def test_an_index_is_there_at_once_where_the_table_is_empty(connect: Connect) -> None:
    connection = connect()
    partitioned(connection)
    connection.execute(NOTE.replace("note", "plain"))
    for table, indexes in (("plain", 1), ("note", 6)):
        connection.execute("select sidecar.attach(%s, 'body')", [table])
        assert len(scalar(connection, HNSW)) == indexes
        connection.execute("select sidecar.detach(%s, 'body')", [table])
        connection.execute("select sidecar.attach(%s, 'body')", [table])
        assert len(scalar(connection, HNSW)) == indexes


def test_a_sidecar_with_the_role_sidecar_worker_alone_serves_tables_in_any_schema(
    connect: Connect, live: Start, database: str, role: Callable[..., str]
) -> None:
    connection = connect()
    connection.execute('create schema "Their own"')
    connection.execute('create table "Their own".note (id int primary key, body text, secret text)')
    connection.execute(
        "insert into \"Their own\".note select g, 'n' || g from generate_series(1, 90) g"
    )
    connection.execute("""select sidecar.attach('"Their own".note', 'body')""")
    partitioned(connection)
    connection.execute("insert into note select 'n' || g, 'south', g from generate_series(1, 90) g")
    connection.execute("select sidecar.attach('note', 'body')")
    url = role(database)
    connection.execute(f"grant sidecar_worker to {urlsplit(url).username}")
    live(url)
    wait_until_quiet(connection)
    connection.execute("update \"Their own\".note set body = 'changed' where id < 9")
    connection.execute("insert into shelf.high (region, id, body) values ('south', 5000, 'high')")
    wait_until_quiet(connection)
    assert assert_right(connection, '"Their own".note') == 90
    assert assert_right(connection) == 91
    assert scalar(connection, "select count(*) from sidecar.failure") == 0
    # Only an owner can index.
    found = connection.execute(
        "select finding, mend from sidecar.doctor() where finding ~ 'no HNSW index' order by 1"
    ).fetchall()
    assert len(found) == 2
    assert all("using hnsw" in mend for _, mend in found)
    worker = connect(url)
    for reach in ('select secret from "Their own".note', "update note set body = 'x'"):
        with pytest.raises(errors.InsufficientPrivilege):
            worker.execute(reach)


def test_an_application_needs_no_right_but_those_on_its_own_table(
    connect: Connect, live: Start, database: str, role: Callable[..., str]
) -> None:
    owner, application = connect(), connect(role(database))
    owner.execute(NOTE)
    owner.execute("select sidecar.attach('note', 'body', on_change => 'clear')")
    owner.execute(f"grant all on note to {application.info.user}")
    live()
    application.execute("insert into note values (1, 'one'), (2, 'two')")
    with application.cursor() as cursor, cursor.copy("copy note (id, body) from stdin") as copy:
        copy.write_row([3, "three"])
    application.execute("update note set body = 'changed', id = 4 where id = 1")
    application.execute("delete from note where id = 2")
    application.execute(
        "merge into note using (values (3)) v (id) on v.id = note.id"
        " when matched then update set body = 'merged'"
    )
    wait_until_quiet(owner)
    assert assert_right(owner) == 2
    application.execute("truncate note")
    assert scalar(owner, "select count(*) from sidecar.pending") == 0
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute("select * from sidecar.pending")


@pytest.mark.parametrize("table", ["note", "north"])
def test_a_before_trigger_that_changes_the_source_column_is_noticed(
    connect: Connect, live: Start, table: str
) -> None:
    connection = connect()
    connection.execute(
        "create table note (id int, title text, body text, primary key (id))"
        + (
            " partition by range (id);create table north partition of note default"
            if table == "north"
            else ""
        )
    )
    connection.execute(
        "create function stamp() returns trigger language plpgsql as"
        " 'begin new.body := upper(new.title); return new; end'"
    )
    connection.execute(
        f"create trigger stamp before insert or update on {table}"
        " for each row execute function stamp()"
    )
    connection.execute("select sidecar.attach('note', 'body')")
    connection.execute("insert into note values (1, 'one', 'ignored')")
    live()
    wait_until_quiet(connection)
    connection.execute("update note set title = 'two'")
    wait_until_quiet(connection)
    assert scalar(connection, "select body from note") == "TWO"
    assert assert_right(connection) == 1


def test_a_generated_source_column_is_followed(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute(
        "create table note (id int primary key, title text,"
        " body text generated always as (title || '!') stored)"
    )
    connection.execute("select sidecar.attach('note', 'body')")
    live()
    connection.execute("insert into note values (1, 'one')")
    wait_until_quiet(connection)
    connection.execute("update note set title = 'two'")
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


def test_clear_takes_a_changed_rows_vector_away_at_once(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text, price int)")
    connection.execute("select sidecar.attach('note', 'body', on_change => 'clear')")
    sidecar = live()
    connection.execute("insert into note values (1, 'one')")
    wait_until_quiet(connection)
    connection.execute("update note set price = 2, body = 'one'")
    assert scalar(connection, "select body_embedding is not null from note")
    sidecar.stop()
    connection.execute("update note set body = 'two'")
    assert scalar(connection, "select body_embedding is null from note")
    live()
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


@pytest.mark.parametrize("whole", [False, True])
def test_renames_of_everything_break_no_write_and_vectors_follow(
    connect: Connect, live: Start, whole: bool
) -> None:
    connection = connect()
    connection.execute(
        "create schema place;"
        "create table place.note (gone int, id int primary key, body text)"
        + (
            " partition by range (id);"
            "create table place.part (id int not null, body text, gone int);"
            "alter table place.note attach partition place.part default"
            if whole
            else ""
        )
    )
    connection.execute("alter table place.note drop gone")
    connection.execute("select sidecar.attach('place.note', 'body', on_change => 'clear')")
    live()
    connection.execute("insert into place.note values (1, 'one'), (2, 'two')")
    renames = (
        ("alter table place.note rename id to number", "place.note", "number", "body"),
        ("alter table place.note rename body to text", "place.note", "number", "text"),
        (
            "alter table place.note rename body_embedding to vec",
            "place.note",
            "number",
            "text",
        ),
        ("alter table place.note rename to memo", "place.memo", "number", "text"),
        ('alter schema place rename to "Room"', '"Room".memo', "number", "text"),
    )
    vector = "body_embedding"
    for step, (rename, table, key, source) in enumerate(renames, start=10):
        connection.execute(rename)
        vector = "vec" if "to vec" in rename else vector
        connection.execute(f"insert into {table} ({key}, {source}) values ({step}, 'n {step}')")
        connection.execute(f"update {table} set {source} = 'changed at {step}' where {key} = 1")
        connection.execute(f"update {table} set {key} = {step + 100} where {key} = {step}")
        wait_until_quiet(connection)
        rows = f"(select {source} as body, {vector} as body_embedding from {table}) as now"
        assert assert_right(connection, rows) == step - 7
    assert scalar(connection, "select count(*) from sidecar.failure") == 0


def test_a_dropped_table_holds_no_other_up(connect: Connect, live: Start) -> None:
    connection = connect()
    for table in ("gone", "note"):
        connection.execute(NOTE.replace("note", table))
        connection.execute("select sidecar.attach(%s, 'body')", [table])
    sidecar = live()
    sidecar.gates.hold("before_write")
    connection.execute("insert into gone select g, 'n' || g from generate_series(1, 600) g")
    sidecar.gates.wait("before_write")
    connection.execute("drop table gone")
    sidecar.gates.let_go("before_write")
    connection.execute("insert into note values (1, 'one')")
    wait_for(connection, "select body_embedding is not null from note")
    assert assert_right(connection) == 1
    assert connection.execute("select target::text from sidecar.status").fetchall() == [("note",)]


def test_a_dropped_source_or_vector_column_breaks_no_write(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text, other text)")
    for column in ("body", "other"):
        connection.execute("select sidecar.attach('note', %s, on_change => 'clear')", [column])
    live()
    connection.execute("alter table note drop body_embedding")
    connection.execute("insert into note values (1, 'a', 'b')")
    connection.execute("update note set body = 'c', other = 'd'")
    connection.execute("alter table note drop body cascade")
    connection.execute("update note set other = 'e'")
    connection.execute("insert into note values (2, 'f')")
    wait_for(connection, "select count(other_embedding) = 2 from note")
    assert (
        assert_right(
            connection, "(select other as body, other_embedding as body_embedding from note) as now"
        )
        == 2
    )


def test_rows_that_row_security_hides_from_the_sidecar_wait_for_a_policy(
    connect: Connect, live: Start, database: str, role: Callable[..., str]
) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body')")
    connection.execute("alter table note enable row level security")
    url = role(database)
    worker = urlsplit(url).username
    connection.execute(f"grant sidecar_worker to {worker}")
    connection.execute("insert into note values (1, 'hidden')")
    live(url)
    connection.execute("select pg_sleep(0.5)")
    assert scalar(connection, "select count(*) from sidecar.pending") == 1
    assert scalar(connection, "select count(*) from sidecar.failure") == 0
    connection.execute(f"alter role {worker} bypassrls")
    connection.execute("update sidecar.pending set due_at = now()")
    wait_until_quiet(connection)
    assert assert_right(connection) == 1
