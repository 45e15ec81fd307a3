"""Two databases of one server, two tenants in one database: none disturbs the other's work."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import errors

from sidecar import migrate
from sidecar.embedded import Server
from sidecar.settings import Settings
from tests.fix_live import LiveSidecar, Start, text_vector, wait_until_quiet
from tests.fix_postgres import TEMPLATE, Connect, Connection, fresh_database
from tests.fix_sidecar import AnsweringSidecar

Role = Callable[..., str]


@pytest.fixture
def other_database(postgres: Server) -> Iterator[str]:
    """URL of a second migrated database."""
    with fresh_database(postgres, TEMPLATE) as url:
        yield url


@pytest.fixture
def other_empty_database(postgres: Server) -> Iterator[str]:
    with fresh_database(postgres, "template0") as url:
        yield url


def same(connection: Connection, query: str, text: str) -> bool:
    """Whether a query returns the encoder's vector of the text."""
    row = connection.execute(f"select ({query})::real[]").fetchone()
    assert row is not None
    return all(abs(a - b) < 1e-6 for a, b in zip(row[0], text_vector(text), strict=True))


def test_a_sidecar_of_one_database_neither_wakes_nor_answers_nor_embeds_in_another(
    connect: Connect, database: str, other_database: str, live: Start
) -> None:
    first, second = connect(), connect(other_database)
    for connection in (first, second):
        connection.execute("create table note (id int primary key, body text)")
        connection.execute("select sidecar.attach('note', 'body')")
    live(database)
    listener = connect(other_database)
    for channel in ("sidecar", "sidecar_request", "sidecar_probe"):
        listener.execute(f"listen {channel}")
    first.execute("insert into note values (1, 'of the first')")
    second.execute("insert into note values (1, 'of the second')")
    wait_until_quiet(first)
    assert same(first, "sidecar.embed_text('a question')", "a question")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="no sidecar is running"):
        second.execute("select sidecar.embed_text('a question')")
    assert second.execute("select body_embedding is null from note").fetchone() == (True,)
    assert second.execute("select count(*) from sidecar.queue").fetchone() == (1,)
    assert second.execute("select count(*) from sidecar.workers").fetchone() == (0,)
    assert list(listener.notifies(timeout=0.2)) == []

    third = LiveSidecar(other_database, Settings()).start()
    try:
        wait_until_quiet(second)
    finally:
        third.stop()
    assert same(second, "select body_embedding from note", "of the second")
    assert same(first, "select body_embedding from note", "of the first")


def test_going_back_in_one_database_leaves_the_others_roles_their_rights(
    connect: Connect,
    empty_database: str,
    other_empty_database: str,
    role: Role,
) -> None:
    for url in (empty_database, other_empty_database):
        migrate.upgrade(url)
    first, second = connect(empty_database), connect(other_empty_database)
    closed = second.info.dbname
    second.execute(f"revoke connect on database {closed} from public")
    second.execute(f"grant connect on database {closed} to sidecar_worker")
    (login,) = second.execute(
        "select 'sidecar_loopback_' || oid from pg_database where datname = current_database()"
    ).fetchone() or ("",)
    second.execute(f"grant connect on database {closed} to {login}")
    worker = role(other_empty_database)
    second.execute(f"grant sidecar_worker to {psycopg.conninfo.conninfo_to_dict(worker)['user']}")
    first.execute("grant usage on schema public to sidecar_worker")

    migrate.downgrade(empty_database)
    assert first.execute(
        "select count(*) from pg_shdepend s join pg_database d on d.oid = s.dbid"
        " where d.datname = current_database() and s.refobjid = 'sidecar_worker'::regrole"
    ).fetchone() == (0,)
    sidecar = AnsweringSidecar(worker)
    sidecar.start()
    try:
        second.execute("select sidecar.embed_text('still answered')")
    finally:
        sidecar.stop()
    assert sidecar.asked == ["still answered"]
    migrate.upgrade(empty_database)
    migrate.upgrade(other_empty_database)


@pytest.fixture
def tenants(connect: Connect, database: str, role: Role) -> list[Connection]:
    """Two sidecar_admin, each with a schema and an attached table `note` of its own."""
    owner, sessions = connect(), []
    for _ in range(2):
        session = connect(role(database))
        name = session.info.user
        owner.execute(f"grant sidecar_admin to {name}")
        owner.execute(f"create schema {name} authorization {name}")
        session.execute("create table note (id int primary key, body text)")
        session.execute("select sidecar.attach('note', 'body')")
        sessions.append(session)
    return sessions


def test_tables_of_one_name_in_two_schemas_are_kept_apart(
    connect: Connect, tenants: list[Connection], live: Start
) -> None:
    live()
    for number, tenant in enumerate(tenants):
        tenant.execute("insert into note values (1, %s), (2, ' ')", [f"of tenant {number}"])
    wait_until_quiet(connect())
    for number, tenant in enumerate(tenants):
        assert same(tenant, "select body_embedding from note where id = 1", f"of tenant {number}")
        assert tenant.execute("select rows, embedded, failed from sidecar.status").fetchall() == [
            (2, 1, 1)
        ]
        for view in ("failures", "status"):
            seen = tenant.execute(f"select target::text from sidecar.{view}").fetchall()
            assert seen == [("note",)]
        assert tenant.execute(
            "select (item).body from sidecar.search(NULL::note, %s, k => 5)",
            [f"of tenant {number}"],
        ).fetchall() == [(f"of tenant {number}",)]
        assert "note" in str(tenant.execute("select finding from sidecar.doctor()").fetchall())


@pytest.mark.parametrize("database", [16, 18], indirect=True)
def test_a_tenant_cannot_touch_anothers_attachment(
    connect: Connect, tenants: list[Connection]
) -> None:
    mine, other = tenants
    theirs = f"{other.info.user}.note"
    other.execute("insert into note values (1, 'secret')")
    owner = connect()
    owner.execute(
        "insert into sidecar.failure (attachment, key, error, message, attempts)"
        " select id, '[1]', 'text_empty', 'secret', 1 from sidecar.attachment"
    )
    before = owner.execute("select * from sidecar.attachment order by id").fetchall()
    owner.execute(f"grant usage on schema {other.info.user} to {mine.info.user}")
    for attempt in (
        *(f"select sidecar.{call}('{theirs}', 'body')" for call in ("pause", "resume", "reembed")),
        f"select sidecar.detach('{theirs}', 'body')",
        f"select sidecar.attach('{theirs}', 'body', embedding => 'x')",
        "delete from sidecar.attachment",
        "update sidecar.attachment set paused = true",
        f"update sidecar.attachment set target = '{theirs}'::regclass"
        f" where target = 'note'::regclass",
        "select * from sidecar.pending",
        "select * from sidecar.failure",
        "delete from sidecar.progress",
        f"select * from sidecar.explain('{theirs}', 'body', '[1]')",
        f"select * from sidecar.similar(NULL::{theirs}, '[1]')",
        f"select * from sidecar.search(NULL::{theirs}, array_fill(1, array[768])::vector)",
    ):
        with pytest.raises((errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState)):
            mine.execute(attempt)
    assert mine.execute(f"select sidecar.retry('{theirs}', 'body')").fetchone() == (0,)
    for look in ("own_pending", "own_failure"):
        (number,) = mine.execute(
            "select id from sidecar.attachment where target = 'note'::regclass"
        ).fetchone() or (0,)
        assert mine.execute(
            f"select count(*) from sidecar.{look} where attachment <> %s", [number]
        ).fetchone() == (0,)
    with pytest.raises(errors.WithCheckOptionViolation):
        mine.execute(
            "insert into sidecar.own_pending (attachment, key)"
            f" select id, '[9]' from sidecar.attachment where target = '{theirs}'::regclass"
        )
    assert owner.execute("select * from sidecar.attachment order by id").fetchall() == before
    assert owner.execute("select count(*) from sidecar.failure").fetchone() == (2,)
    assert mine.execute("select sidecar.retry('note', 'body')").fetchone() == (1,)
    mine.execute("select sidecar.detach('note', 'body')")
    assert owner.execute("select count(*) from sidecar.failure").fetchone() == (1,)


def test_a_trigger_function_is_of_use_on_its_own_table_only(
    connect: Connect, tenants: list[Connection]
) -> None:
    mine, other = tenants
    other.execute("insert into note values (1, 'waits')")
    (theirs,) = other.execute(
        "select id from sidecar.attachment where target = 'note'::regclass"
    ).fetchone() or (0,)
    mine.execute("create table trap (id int)")
    for function in (f"queue_{theirs}_row", f"queue_{theirs}_statement"):
        with pytest.raises(errors.InsufficientPrivilege):
            mine.execute(
                "create trigger trap after insert on trap"
                f" for each row execute function sidecar.{function}()"
            )
    mine.execute(
        "create trigger trap after insert on trap"
        f" for each row execute function sidecar.clear('{theirs}')"
    )
    mine.execute("insert into trap values (1)")
    assert connect().execute("select count(*) from sidecar.pending").fetchone() == (1,)
    other.execute("truncate note")
    assert connect().execute("select count(*) from sidecar.pending").fetchone() == (0,)
