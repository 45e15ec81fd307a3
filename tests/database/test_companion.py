"""storage => 'table': the companion table and its view, their names and rights; rows of the
application are never touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors

from sidecar import migrate
from tests.database.test_attach import refused
from tests.database.test_attached_tables import partitioned, scalar, wait_for
from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect
from tests.fix_shop import vector_text

Connection = psycopg.Connection[Any]
NOTE = "create table note (id int primary key, body text, price int)"
ATTACH = "select sidecar.attach('note', 'body', storage => 'table', index => 'none')"
SHOWN = "note_with_body_embedding"


def put_vectors(connection: Connection) -> None:
    """Vectors for all rows of note, as the sidecar would have written them."""
    for key, body in connection.execute("select id, body from note").fetchall():
        connection.execute(
            "insert into note_body_embedding values (%s, %s, 'hash', sha256(%s))",
            [key, vector_text(body), body.encode()],
        )
    connection.execute("delete from sidecar.pending")
    connection.execute("update sidecar.attachment set backfill = 'done'")


def test_attach_says_what_it_made_and_makes_what_is_documented(connect: Connect) -> None:
    connection = connect()
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    connection.execute(NOTE)
    with connection.transaction():
        assert isinstance(scalar(connection, ATTACH), int)
        modes = connection.execute(
            "select mode from pg_locks where pid = pg_backend_pid() and relation = 'note'::regclass"
        ).fetchall()
        assert ("AccessExclusiveLock",) not in modes
    assert notices == [
        "the vectors of public.note.body are in the table public.note_body_embedding;"
        " the view public.note_with_body_embedding shows them as a column"
    ]
    columns = (
        "select array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod)"
        " order by a.attnum) from pg_attribute a where a.attnum > 0 and a.attrelid = %s::regclass"
    )
    found = connection.execute(columns, ["note_body_embedding"]).fetchone()
    assert found == (
        [
            "id integer",
            "embedding vector(768)",
            "model text",
            "content_hash bytea",
            "embedded_at timestamp with time zone",
        ],
    )
    found = connection.execute(columns, [SHOWN]).fetchone()
    assert found == (["id integer", "body text", "price integer", "body_embedding vector(768)"],)
    keys = (
        "select array_agg(pg_get_constraintdef(oid) order by contype) from pg_constraint"
        " where conrelid = 'note_body_embedding'::regclass and contype in ('p', 'f')"
    )
    assert scalar(connection, keys) == [
        "FOREIGN KEY (id) REFERENCES note(id) ON UPDATE CASCADE ON DELETE CASCADE",
        "PRIMARY KEY (id)",
    ]
    first = connection.execute(ATTACH).fetchone()
    assert first == (1,)
    assert len(notices) == 1
    with pytest.raises(errors.ObjectNotInPrerequisiteState):
        connection.execute("select sidecar.attach('note', 'body', index => 'none')")


def test_no_write_touches_a_row_of_the_application(connect: Connect, live: Start) -> None:
    connection, application = connect(), connect()
    connection.execute(NOTE)
    connection.execute(
        "create table fired ();"
        "create function fire() returns trigger language plpgsql as"
        " 'begin insert into fired default values; return new; end';"
        "create trigger fire before update on note for each row execute function fire()"
    )
    connection.execute(ATTACH)
    connection.execute("insert into note select g, 'n' || g, g from generate_series(1, 20) g")
    state = "select array_agg((id, ctid, xmin)::text order by id) from note where id > 1"
    before = scalar(connection, state)
    with application.transaction():
        # Another column of a row is being changed, and another transaction reads all for an update.
        application.execute("update note set price = 0 where id = 1")
        live()
        wait_until_quiet(connection)
        assert assert_right(connection, SHOWN) == 20
    connection.execute("select sidecar.reembed('note', 'body')")
    wait_until_quiet(connection)
    assert scalar(connection, state) == before
    assert scalar(connection, "select count(*) from fired") == 1


def test_an_update_of_an_indexed_column_leaves_the_vectors_index_alone(connect: Connect) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("create index on note (price)")
    connection.execute("select sidecar.attach('note', 'body', storage => 'table')")
    connection.execute("insert into note select g, 'n' || g, g from generate_series(1, 50) g")
    put_vectors(connection)
    size = "select pg_current_wal_lsn() - '0/0', pg_relation_size(indexrelid), indexrelid::regclass"
    query = f"{size}::text from pg_index where indrelid = 'note_body_embedding'::regclass"
    before = connection.execute(query).fetchall()
    connection.execute("update note set price = price + 1")
    after = connection.execute(query).fetchall()
    assert [row[1:] for row in after] == [row[1:] for row in before]
    assert after[0][0] - before[0][0] < 100_000


@pytest.mark.parametrize(
    ("before", "call", "error", "hint"),
    [
        ("create table note_body_embedding (x int)", "", errors.DuplicateTable, "embedding =>"),
        ("create sequence note_body_embedding", "", errors.DuplicateTable, "embedding =>"),
        ("create table note_with_body_embedding ()", "", errors.DuplicateTable, "embedding =>"),
        ("alter table note add body_embedding text", "", errors.DuplicateColumn, "embedding =>"),
        (
            "alter table note drop constraint note_pkey;"
            "alter table note add primary key (id) deferrable",
            "",
            errors.ObjectNotInPrerequisiteState,
            "storage => 'column'",
        ),
    ],
)
def test_what_is_in_the_way_is_named_and_nothing_is_left(
    connect: Connect, before: str, call: str, error: type[psycopg.Error], hint: str
) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute(before.encode())
    refused(connection, error, f"'note', 'body', storage => 'table'{call}", hint)


def test_what_another_role_put_in_place_is_not_taken_over(
    connect: Connect, database: str, role: Callable[..., str]
) -> None:
    connection, other = connect(), connect(role(database))
    name = other.info.user
    connection.execute(NOTE)
    connection.execute(
        f"grant all on schema public to {name}; grant all on note to {name}".encode()
    )
    other.execute("create view sidecar_1_vectors as select 1 as k1")
    refused(connection, errors.DuplicateTable, "'note', 'body', storage => 'table'", "Drop or")
    other.execute("drop view sidecar_1_vectors")
    connection.execute(ATTACH)
    connection.execute("select sidecar.detach('note', 'body')")
    connection.execute(f"alter table note_body_embedding owner to {name}".encode())
    refused(connection, errors.DuplicateTable, "'note', 'body', storage => 'table'", "embedding =>")


def test_a_companion_that_was_dropped_breaks_no_write(connect: Connect) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute(ATTACH.replace("storage", "on_change => 'clear', storage"))
    connection.execute("insert into note values (1, 'one')")
    connection.execute("drop table note_body_embedding cascade")
    connection.execute("update note set body = 'changed'")
    found = "select count(*) from sidecar.doctor() where finding ~ 'vector column .* was dropped'"
    assert scalar(connection, found) == 1
    connection.execute("select sidecar.detach('note', 'body', drop_column => true)")
    connection.execute(ATTACH)
    assert scalar(connection, "select array_agg(id) from note_with_body_embedding") == [1]


def test_long_names_are_cut_and_stay_apart(connect: Connect, live: Start) -> None:
    connection = connect()
    table = "ж" * 30
    connection.execute(f"create table {table} (id int primary key, body text, other text)".encode())
    live()
    for column in ("body", "other"):
        connection.execute(
            "select sidecar.attach(%s, %s, embedding => %s, storage => 'table')",
            [table, column, column + "_" * 50],
        )
    connection.execute(f"insert into {table} values (1, 'one', 'two')".encode())
    wait_until_quiet(connection)
    names = scalar(
        connection,
        "select array_agg(relname::text) from pg_class"
        " where relkind in ('r', 'v') and relnamespace = 'public'::regnamespace",
    )
    assert len({name for name in names if len(name.encode()) in (62, 63)}) == 4
    counts = "select array_agg(embedded) from sidecar.status"
    assert scalar(connection, counts) == [1, 1]


@pytest.mark.parametrize("kind", ["unlogged", "key with the name of our column", "include"])
def test_tables_of_other_kinds(connect: Connect, live: Start, kind: str) -> None:
    connection = connect()
    connection.execute(
        {
            "unlogged": "create unlogged table note (id int primary key, body text)",
            "key with the name of our column": "create table note"
            " (embedding int, model text, embedded_at date, content_hash bytea, body text,"
            " primary key (model, embedding, content_hash, embedded_at))",
            "include": "create table note (id int, body text, primary key (id) include (body))",
        }[kind].encode()
    )
    connection.execute(ATTACH)
    live()
    if kind.startswith("key"):
        connection.execute("insert into note values (1, 'm', '2026-01-01', 'x', 'one')")
    else:
        connection.execute("insert into note values (1, 'one')")
    wait_until_quiet(connection)
    assert assert_right(connection, SHOWN) == 1
    persistence = "select relpersistence from pg_class where relname = 'note_body_embedding'"
    assert scalar(connection, persistence) == ("u" if kind == "unlogged" else "p")


def test_rows_that_row_security_hides_show_neither_vector_nor_key(
    connect: Connect, database: str, role: Callable[..., str]
) -> None:
    connection, reader, stranger = connect(), connect(role(database)), connect(role(database))
    connection.execute(NOTE)
    connection.execute(f"grant select on note to {reader.info.user}".encode())
    for session in (reader, stranger):
        connection.execute(f"grant sidecar_user to {session.info.user}".encode())
    connection.execute(ATTACH)
    connection.execute("insert into note select g, 'n' || g from generate_series(1, 6) g")
    put_vectors(connection)
    # Row-level security comes after the attachment.
    connection.execute("alter table note enable row level security")
    connection.execute(f"create policy p on note to {reader.info.user} using (id > 4)".encode())
    for query in (
        "select array_agg(id order by id) from note_body_embedding",
        f"select array_agg(id order by id) from {SHOWN} where body_embedding is not null",
        "select array_agg((item).id order by (item).id)"
        f" from sidecar.search(null::note, '{vector_text('n1')}'::vector)",
    ):
        assert scalar(reader, query) == [5, 6]
        assert len(scalar(connection, query)) == 6
        with pytest.raises(errors.InsufficientPrivilege):
            stranger.execute(query.encode())
    assert scalar(reader, "select array[rows, embedded] from sidecar.status") == [2, 2]
    assert stranger.execute("select * from sidecar.status").fetchall() == []
    explained = "select state from sidecar.explain('note', 'body', '[1]')"
    assert scalar(reader, explained) == "skipped"
    for write in ("delete from note_body_embedding", f"update {SHOWN} set body = 'x'"):
        with pytest.raises((errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState)):
            reader.execute(write.encode())


def test_a_role_that_may_read_the_table_later_is_named_and_let_in_by_renew_view(
    connect: Connect, database: str, role: Callable[..., str]
) -> None:
    connection, reader = connect(), connect(role(database))
    connection.execute(NOTE)
    connection.execute(ATTACH)
    connection.execute("insert into note values (1, 'one')")
    put_vectors(connection)
    connection.execute(f"grant select on note to {reader.info.user}".encode())
    connection.execute(f"grant sidecar_user to {reader.info.user}".encode())
    assert scalar(reader, "select embedded is null from sidecar.status")
    connection.execute("alter table note add title text; alter table note add mood text")
    connection.execute("alter table note_body_embedding disable row level security")
    findings = "select finding, mend from sidecar.doctor() where finding ~ 'embedding'"
    found = connection.execute(findings).fetchall()
    assert len(found) == 3
    assert str(reader.info.user) in str(found)
    assert "lacks title, mood" in str(found)
    connection.execute(found[0][1].encode())
    assert connection.execute(findings).fetchall() == []
    query = f"select title is null, mood is null, body_embedding is not null from {SHOWN}"
    assert reader.execute(query.encode()).fetchone() == (True, True, True)


def test_the_view_finds_by_its_index_and_a_plain_join_does_too(connect: Connect) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute("select sidecar.attach('note', 'body', storage => 'table')")
    connection.execute("insert into note select g, 'n' || g from generate_series(1, 400) g")
    put_vectors(connection)
    connection.execute("analyze note; analyze note_body_embedding; set enable_sort = off")
    question = vector_text("n7")
    for query in (
        f"select id from {SHOWN} where body_embedding is not null"
        f" order by body_embedding <=> '{question}' limit 3",
        "select id from note join note_body_embedding using (id)"
        f" order by embedding <=> '{question}' limit 3",
    ):
        plan = str(connection.execute(f"explain {query}".encode()).fetchall())
        assert "note_body_embedding_embedding_idx" in plan
        assert connection.execute(query.encode()).fetchone() == (7,)


def test_truncate_and_drop_say_cascade_and_then_do_it(
    connect: Connect, database: str, role: Callable[..., str], live: Start
) -> None:
    connection = connect()
    application = connect(role(database))
    connection.execute(NOTE)
    connection.execute(f"grant all on note to {application.info.user}".encode())
    connection.execute(ATTACH)
    connection.execute("insert into note values (1, 'one')")
    live()
    wait_until_quiet(connection)
    with pytest.raises(errors.FeatureNotSupported):
        application.execute("truncate note")
    application.execute("truncate note cascade")
    assert scalar(connection, "select count(*) from note_body_embedding") == 0
    with pytest.raises(errors.DependentObjectsStillExist):
        connection.execute("drop table note")
    connection.execute("drop table note cascade")
    connection.execute(NOTE.replace("note", "other"))
    connection.execute("select sidecar.attach('other', 'body', storage => 'table')")
    connection.execute("insert into other values (1, 'one')")
    wait_for(connection, "select count(*) = 1 from other_body_embedding")


def test_partitions_come_and_go(connect: Connect, live: Start) -> None:
    connection = connect()
    partitioned(connection)
    connection.execute(ATTACH)
    connection.execute("insert into note values ('a', 'north', 1), ('b', 'south', 2)")
    live()
    wait_until_quiet(connection)
    with pytest.raises(errors.ForeignKeyViolation):
        connection.execute("alter table note detach partition north")
    connection.execute("delete from note_body_embedding where region = 'north'")
    connection.execute("alter table note detach partition north")
    connection.execute("create table west partition of note for values in ('west')")
    connection.execute("insert into west (region, id, body) values ('west', 1, 'c')")
    wait_until_quiet(connection)
    assert assert_right(connection, SHOWN) == 2


def test_a_companion_of_another_width_is_not_taken_over(connect: Connect) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute(ATTACH)
    connection.execute("select sidecar.detach('note', 'body')")
    connection.execute("insert into sidecar.model (name, width) values ('narrow', 3)")
    refused(
        connection,
        errors.DatatypeMismatch,
        "'note', 'body', storage => 'table', model => 'narrow', adopt => true",
        "DROP TABLE public.note_body_embedding CASCADE",
    )
    connection.execute(ATTACH)
    refused(
        connection,
        errors.ObjectNotInPrerequisiteState,
        "'note', 'body', storage => 'table', embedding => 'other'",
        "SELECT sidecar.detach('public.note', 'body')",
    )


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_upgrade_keeps_it_and_downgrade_leaves_table_and_view(
    connect: Connect, live: Start, database: str
) -> None:
    connection = connect()
    connection.execute(NOTE)
    connection.execute(ATTACH.replace("storage", "on_change => 'clear', storage"))
    connection.execute("insert into note values (1, 'one')")
    connection.execute("drop view sidecar_1_vectors")
    assert scalar(connection, "select count(*) from sidecar.doctor() where finding ~ 'a view is'")
    migrate.upgrade(database)
    sidecar = live()
    wait_until_quiet(connection)
    connection.execute("update note set body = 'changed'")
    wait_until_quiet(connection)
    assert assert_right(connection, SHOWN) == 1
    sidecar.stop()
    migrate.downgrade(database)
    assert assert_right(connection, SHOWN) == 1
    assert scalar(connection, "select count(*) from pg_trigger where tgname ~ 'sidecar'") == 0
    migrate.upgrade(database)
    connection.execute(ATTACH)
    live()
    wait_until_quiet(connection)
    assert assert_right(connection, SHOWN) == 1


def test_the_owner_is_the_tables_owner_and_needs_create_on_the_schema(
    connect: Connect, live: Start, database: str, role: Callable[..., str]
) -> None:
    connection, owner = connect(), connect(role(database))
    name = owner.info.user
    connection.execute(f"create schema shop; grant usage on schema shop to {name}".encode())
    connection.execute(NOTE.replace("note", "shop.note"))
    connection.execute(f"alter table shop.note owner to {name}".encode())
    connection.execute(f"grant sidecar_admin to {name}".encode())
    attach = ATTACH.replace("'note'", "'shop.note'")
    with pytest.raises(errors.InsufficientPrivilege) as raised:
        owner.execute(attach.encode())
    assert "GRANT CREATE ON SCHEMA shop" in (raised.value.diag.message_hint or "")
    connection.execute(f"grant create on schema shop to {name}".encode())
    for session in (owner, connection):
        session.execute(attach.encode())
        owners = (
            "select array_agg(distinct relowner::regrole::text) from pg_class"
            " where relnamespace = 'shop'::regnamespace and relkind in ('r', 'v')"
        )
        assert scalar(connection, owners) == [name]
        sidecar = live()
        owner.execute("insert into shop.note select coalesce(max(id), 0) + 1, 'x' from shop.note")
        wait_until_quiet(connection)
        sidecar.stop()
        assert assert_right(owner, f"shop.{SHOWN}") > 0
        session.execute("select sidecar.detach('shop.note', 'body', drop_column => true)")
    assert scalar(connection, owners) == [name]
