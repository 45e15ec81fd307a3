"""sidecar.attach: what it accepts, what it refuses with a hint; nothing is left half done."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]


def catalog(connection: Connection) -> list[Any]:
    """All that attach could have left behind."""
    return connection.execute(
        "select 'column', attrelid::regclass || '.' || attname from pg_attribute a"
        " join pg_class c on c.oid = a.attrelid"
        " where c.relnamespace = 'public'::regnamespace and attnum > 0 and not attisdropped"
        " union all select 'trigger', tgname || tgrelid::regclass::text || oid from pg_trigger"
        " union all select 'function', oid::regprocedure::text || xmin from pg_proc"
        " where pronamespace = 'sidecar'::regnamespace"
        " union all select 'attachment', to_json(a)::text from sidecar.attachment a"
        " union all select 'index', oid::regclass::text from pg_class"
        " where relkind in ('i', 'I') and relnamespace = 'public'::regnamespace order by 1, 2"
    ).fetchall()


def refused(connection: Connection, error: type[psycopg.Error], call: str, hint: str) -> None:
    """The call fails with this class and a hint that holds these words, and leaves nothing."""
    before = catalog(connection)
    with pytest.raises(error) as raised:
        connection.execute(f"select sidecar.attach({call})")
    assert hint in (raised.value.diag.message_hint or ""), raised.value
    assert catalog(connection) == before


@pytest.mark.parametrize(
    ("type_", "modality"),
    [
        ("bytea", "image"),
        ("text", "text"),
        ("varchar", "text"),
        ("varchar(80)", "text"),
        ("char(8)", "text"),
        ("citext", "text"),
        ("caption", "text"),
        ("short_caption", "text"),
        ("loose_caption", "text"),
        ("picture", "image"),
    ],
)
def test_the_modality_follows_from_the_type(connect: Connect, type_: str, modality: str) -> None:
    connection = connect()
    connection.execute("create extension citext")
    connection.execute("create domain caption as text")
    connection.execute("create domain short_caption as caption check (length(value) < 80)")
    connection.execute("create domain loose_caption as citext")
    connection.execute("create domain picture as bytea")
    connection.execute(f"create table t (id int primary key, c {type_})")
    connection.execute("select sidecar.attach('t', 'c')")
    assert connection.execute("select modality from sidecar.attachment").fetchone() == (modality,)
    assert connection.execute(
        "select format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = 't'::regclass and attname = 'c_embedding'"
    ).fetchone() == ("vector(768)",)


def test_citext_that_changes_only_its_case_is_embedded_again(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute("create schema extensions")
    connection.execute("create extension citext schema extensions")
    connection.execute(
        "create table note (id extensions.citext primary key, body extensions.citext)"
    )
    connection.execute("select sidecar.attach('note', 'body')")
    live()
    connection.execute("insert into note values ('a', 'small'), ('b', 'other')")
    wait_until_quiet(connection)
    connection.execute("update note set body = 'SMALL' where id = 'a'")
    connection.execute("update note set id = 'B' where id = 'b'")
    wait_until_quiet(connection)
    assert assert_right(connection) == 2


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_the_same_call_again_changes_nothing(connect: Connect, database: str) -> None:
    connection = connect()
    connection.execute("create table t (id int primary key, c text)")
    calls = (
        "select sidecar.attach('t', 'c')",
        "select sidecar.attach('t', 'c', embedding => 'c_embedding', backfill => false)",
        "select sidecar.attach('t', 'c', modality => 'text', index => 'hnsw', model => null)",
    )
    first = connection.execute(calls[0]).fetchone()
    before = catalog(connection)
    for call in calls:
        assert connection.execute(call).fetchone() == first
    assert catalog(connection) == before


@pytest.mark.parametrize(
    "option",
    ["embedding => 'other'", "index => 'none'", "on_change => 'clear'", "model => 'another'"],
)
def test_the_same_column_with_other_options_is_refused(connect: Connect, option: str) -> None:
    connection = connect()
    connection.execute("create table t (id int primary key, c text)")
    connection.execute("select sidecar.attach('t', 'c')")
    refused(
        connection,
        errors.ObjectNotInPrerequisiteState,
        f"'t', 'c', {option}",
        "SELECT sidecar.detach('public.t', 'c')",
    )


@pytest.mark.parametrize(
    ("call", "error", "hint"),
    [
        ("'keyless', 'c'", errors.ObjectNotInPrerequisiteState, "ALTER TABLE public.keyless ADD"),
        ("'t', 'absent'", errors.UndefinedColumn, "Its columns: id, c, n, narrow, made"),
        ("'t', 'ctid'", errors.UndefinedColumn, "Its columns: id"),
        ("'t', 'n'", errors.DatatypeMismatch, "Images are bytea columns"),
        ("'t', 'c', modality => 'image'", errors.DatatypeMismatch, "Images are bytea columns"),
        ("'t', 'c', embedding => 'narrow'", errors.DatatypeMismatch, "embedding => '...'"),
        ("'t', 'c', embedding => 'n'", errors.DatatypeMismatch, "embedding => '...'"),
        ("'t', 'c', embedding => 'c'", errors.DatatypeMismatch, "embedding => '...'"),
        ("'t', 'c', embedding => 'made'", errors.GeneratedAlways, "embedding => '...'"),
        ("'seen', 'c'", errors.WrongObjectType, "Attach the table that holds the column"),
        ("'stored', 'c'", errors.WrongObjectType, "Attach the table that holds the column"),
        ("'far', 'c'", errors.WrongObjectType, "Attach the table that holds the column"),
        ("'brief', 'c'", errors.WrongObjectType, "ordinary or UNLOGGED table"),
        ("'part', 'c'", errors.WrongObjectType, "partitioned table public.whole;"),
        ("'subpart', 'c'", errors.WrongObjectType, "partitioned table public.whole;"),
        ("1234567::regclass, 'c'", errors.WrongObjectType, "Attach the table"),
        ("null, 'c'", errors.NullValueNotAllowed, "Example: SELECT sidecar.attach("),
        ("'t', null", errors.NullValueNotAllowed, "Example: SELECT sidecar.attach("),
        ("'t', 'c', source => null", errors.InvalidParameterValue, "inline, url"),
        ("'t', 'c', storage => null", errors.InvalidParameterValue, "column, table"),
        ("'t', 'c', index => null", errors.InvalidParameterValue, "hnsw, none"),
        ("'t', 'c', on_change => null", errors.InvalidParameterValue, "keep, clear"),
        ("'t', 'c', backfill => null", errors.InvalidParameterValue, "true, false"),
        ("'t', 'c', modality => 'video'", errors.InvalidParameterValue, "image, text"),
        ("'t', 'c', index => 'ivfflat'", errors.InvalidParameterValue, "hnsw, none"),
        ("'t', 'c', on_change => 'drop'", errors.InvalidParameterValue, "keep, clear"),
        ("'t', 'c', source => 'ftp'", errors.InvalidParameterValue, "inline, url"),
        ("'t', 'c', storage => 'disk'", errors.InvalidParameterValue, "column, table"),
        ("'t', 'c', source => 'url'", errors.FeatureNotSupported, "source => 'inline'"),
    ],
)
def test_what_cannot_be_attached_is_refused_with_a_hint(
    connect: Connect, call: str, error: type[psycopg.Error], hint: str
) -> None:
    connection = connect()
    connection.execute(
        "create table t (id int primary key, c text, n int, narrow vector(3),"
        " made vector(768) generated always as (null::vector(768)) stored);"
        "create table keyless (c text);"
        "create view seen as select * from t;"
        "create materialized view stored as select * from t;"
        "create temporary table brief (id int primary key, c text);"
        "create server elsewhere foreign data wrapper dblink_fdw;"
        "create foreign table far (id int, c text) server elsewhere;"
        "create table whole (id int primary key, c text) partition by range (id);"
        "create table part partition of whole for values from (1) to (9) partition by range (id);"
        "create table subpart partition of part for values from (1) to (5)"
    )
    refused(connection, error, call, hint)


def test_two_source_columns_cannot_share_a_vector_column(connect: Connect) -> None:
    connection = connect()
    connection.execute("create table t (id int primary key, c text, d text)")
    connection.execute("select sidecar.attach('t', 'c')")
    refused(
        connection,
        errors.ObjectNotInPrerequisiteState,
        "'t', 'd', embedding => 'c_embedding'",
        "embedding => '...'",
    )
    connection.execute("select sidecar.attach('t', 'd')")


@pytest.mark.parametrize(
    "name",
    [
        'two words "quoted"',
        "it's 100 % %s %I %1$s",
        "dollar $text$ $function$ $$ end",
        "ключ 🔑 数",
        "back\\slash; drop table x",
        "x" * 63,
        "ж" * 31 + "y",
        "select",
    ],
)
def test_any_name_works_for_schema_table_and_columns(
    connect: Connect, live: Start, name: str
) -> None:
    connection = connect()
    quoted = sql.Identifier(name)
    other = sql.Identifier(name[:-1] + "2")
    table = sql.SQL("{0}.{0}").format(quoted)
    connection.execute(sql.SQL("create schema {}").format(quoted))
    connection.execute(
        sql.SQL("create table {} ({} date primary key, {} text)").format(table, other, quoted)
    )
    attach = "select sidecar.attach(%s, %s, on_change => 'clear')"
    connection.execute(attach, [table.as_string(connection), name])
    live()
    row = connection.execute("select embedding_column from sidecar.attachment").fetchone()
    assert row is not None
    embedding = sql.Identifier(row[0])
    assert row[0] != name
    connection.execute(sql.SQL("insert into {} values ('2026-01-01', 'a')").format(table))
    wait_until_quiet(connection)
    connection.execute(sql.SQL("update {} set {} = 'b'").format(table, quoted))
    wait_until_quiet(connection)
    connection.execute(
        sql.SQL("create view seen as select {} as body, {} as body_embedding from {}").format(
            quoted, embedding, table
        )
    )
    assert assert_right(connection, "seen") == 1
    detach = "select sidecar.detach(%s, %s)"
    connection.execute(detach, [table.as_string(connection), name])
    assert connection.execute(
        "select count(*) from pg_proc where pronamespace = 'sidecar'::regnamespace"
        " and prorettype = 'trigger'::regtype and proname ~ '[0-9]'"
    ).fetchone() == (0,)


def test_attach_gives_up_after_lock_timeout_and_leaves_nothing(connect: Connect) -> None:
    connection, application = connect(), connect()
    connection.execute("create table t (id int primary key, c text)")
    connection.execute("set lock_timeout = '200ms'")
    before = catalog(connection)
    with application.transaction():
        application.execute("insert into t values (1, 'one')")
        with pytest.raises(errors.LockNotAvailable):
            connection.execute("select sidecar.attach('t', 'c')")
    assert catalog(connection) == before
    connection.execute("select sidecar.attach('t', 'c')")


@pytest.mark.parametrize("column", ["", ", body_embedding vector(768)"])
def test_a_row_that_commits_while_attach_waits_is_not_lost(
    connect: Connect, live: Start, column: str
) -> None:
    connection, writer = connect(), connect()
    connection.execute(f"create table note (id int primary key, body text{column})")
    attaching = connect()
    with writer.transaction():
        writer.execute("insert into note values (1, 'just before')")
        thread = threading.Thread(
            target=attaching.execute, args=["select sidecar.attach('note', 'body')"]
        )
        thread.start()
        wait_for_lock(connection)
    thread.join()
    live()
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


def test_a_row_that_a_repeatable_read_attach_cannot_see_is_not_lost(
    connect: Connect, live: Start
) -> None:
    connection, attaching = connect(), connect()
    connection.execute("create table note (id int primary key, body text)")
    attaching.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with attaching.transaction():
        attaching.execute("select 1")
        connection.execute("insert into note values (1, 'unseen')")
        attaching.execute("select sidecar.attach('note', 'body')")
    live()
    wait_until_quiet(connection)
    assert assert_right(connection) == 1


def test_two_sessions_that_attach_at_once_get_the_same_attachment(connect: Connect) -> None:
    connection, first, second = connect(), connect(), connect()
    connection.execute("create table t (id int primary key, c text)")
    answers: list[Any] = []

    def attach() -> None:
        answers.append(second.execute("select sidecar.attach('t', 'c')").fetchone())

    with first.transaction():
        answers.append(first.execute("select sidecar.attach('t', 'c')").fetchone())
        thread = threading.Thread(target=attach)
        thread.start()
        wait_for_lock(connection)
    thread.join()
    assert len(answers) == 2
    assert answers[0] == answers[1]


def wait_for_lock(connection: Connection) -> None:
    """Returns when a session of this database waits for a lock."""
    deadline = time.monotonic() + 20
    while connection.execute(
        "select exists (select from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock')"
    ).fetchone() != (True,):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_failed_attach_inside_a_transaction_leaves_the_rest_of_it(connect: Connect) -> None:
    connection = connect()
    with connection.transaction():
        connection.execute("create table t (id int primary key, c text)")
        with pytest.raises(errors.DatatypeMismatch), connection.transaction():
            connection.execute("select sidecar.attach('t', 'id')")
        connection.execute("select sidecar.attach('t', 'c')")
    assert connection.execute("select count(*) from sidecar.attachment").fetchone() == (1,)
