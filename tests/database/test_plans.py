"""The sidecar's statements at 50,000 pending rows: each uses the index that it is meant to use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sidecar.sessions import SESSION
from sidecar.statements import statement
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]
ROWS = 50_000


@pytest.fixture
def full(connect: Connect) -> Connection:
    """A session as the sidecar's, with ROWS pending rows of `note`, of which none was ever seen by
    ANALYZE."""
    connection = connect()
    connection.execute(
        "create table note (region text, id int, body text, primary key (region, id))"
        " with (autovacuum_enabled = false);"
        "alter table sidecar.pending set (autovacuum_enabled = false);"
        "insert into sidecar.model (name, width, serving) values ('hash', 768, true)"
    )
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    connection.execute(
        f"insert into note select 'eu', g, 'n' || g from generate_series(1, {ROWS}) g"
    )
    connection.execute(
        "update sidecar.pending set lease_token = 7, lease_until = now() + interval '1 hour'"
        " where (key->>1)::int <= 512"
    )
    for name, value in SESSION.items():
        connection.execute("select set_config(%s, %s, false)", [name, value])
    return connection


def plan(connection: Connection, query: str, *arguments: str) -> list[dict[str, Any]]:
    """The nodes of the generic plan, executed with these SQL expressions and rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"prepare asked as {query}".encode())
        row = connection.execute(
            f"explain (analyze, format json) execute asked ({', '.join(arguments)})".encode()
        ).fetchone()
        connection.execute("deallocate asked")
    assert row is not None
    return list(nodes(row[0][0]["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from nodes(child)


def scans(found: list[dict[str, Any]], relation: str) -> list[dict[str, Any]]:
    """The executed nodes that read a relation (not those that modify it)."""
    return [
        node
        for node in found
        if node.get("Relation Name") == relation
        and node["Node Type"] not in ("ModifyTable",)
        and node["Actual Loops"]
    ]


def names(found: list[dict[str, Any]], relation: str) -> set[str]:
    return {node.get("Index Name", node["Node Type"]) for node in scans(found, relation)}


def read(found: list[dict[str, Any]]) -> float:
    """Rows that the scans of tables returned or threw away; the catalogue's, a dozen, are not
    counted."""
    rows: float = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in found
        if node["Node Type"] != "ModifyTable"
        and not node.get("Relation Name", "pg_").startswith("pg_")
    )
    return rows


KEYS = "(select array_agg(jsonb_build_array('eu', g)) from generate_series(1, 512) g)"


def statements_of(connection: Connection) -> dict[str, str]:
    cursor = connection.execute("select s.* from sidecar.attachment a, sidecar.statements(a.id) s")
    assert cursor.description is not None
    row = cursor.fetchone()
    assert row is not None
    return dict(zip((column.name for column in cursor.description), row, strict=True))


def array(kind: str, value: str) -> str:
    return f"array_fill({value}::{kind}, array[512])"


def values_of(connection: Connection, *expressions: str) -> list[str]:
    """Constants, for EXECUTE takes no subquery."""
    constants = []
    for expression in expressions:
        row = connection.execute(f"select ({expression})::text".encode()).fetchone()
        assert row is not None
        constants.append(sql.Literal(row[0]).as_string(connection))
    return constants


def test_claim_walks_the_index_of_due_rows(full: Connection) -> None:
    found = plan(
        full, statement("claim"), "'hash'", "'{text}'", "'{512}'", "60", "5", "'{}'", "'{}'", "'{}'"
    )
    assert names(found, "pending") <= {"pending_claim", "Tid Scan"}
    assert "pending_claim" in names(found, "pending")
    assert read(found) < 6 * 512
    # Rows are due in lane 1: what was drained from the others is not passed over.
    looks = [node for node in scans(found, "pending") if node["Alias"] == "p_1"]
    assert [node["Actual Loops"] for node in looks] == [1]


@pytest.mark.parametrize("name", ["renew", "settle"])
def test_renew_and_settle_find_rows_by_key(full: Connection, name: str) -> None:
    attachment = full.execute("select id from sidecar.attachment").fetchone()
    assert attachment is not None
    ids, keys, tokens, generations, words, numbers, nothing = values_of(
        full,
        array("int", str(attachment[0])),
        KEYS,
        array("bigint", "7"),
        array("bigint", "1"),
        array("text", "'release'"),
        array("float8", "1"),
        array("text", "''"),
    )
    arguments = {
        "renew": [ids, keys, tokens, "60"],
        "settle": [ids, keys, tokens, generations, words, numbers, nothing, nothing],
    }[name]
    found = plan(full, statement(name), *arguments)
    assert names(found, "pending") == {"pending_pkey"}
    assert read(found) < 6 * 512


def test_load_and_write_find_rows_by_key(full: Connection) -> None:
    queries = statements_of(full)
    keys, tokens, generations, vectors = values_of(
        full,
        KEYS,
        array("bigint", "7"),
        array("bigint", "1"),
        "(select array_agg(array_fill(0.5, array[768])::vector) from generate_series(1, 512))",
    )
    found = plan(full, queries["load"], keys)
    assert names(found, "note") == {"note_pkey"}
    assert read(found) <= 512
    found = plan(full, queries["write"], keys, tokens, generations, vectors)
    assert names(found, "note") == {"note_pkey"}
    assert names(found, "pending") == {"pending_pkey"}
    assert read(found) <= 4 * 512
    assert [n["Actual Rows"] for n in found if n.get("Subplan Name") == "CTE done"] == [512]


@pytest.mark.parametrize("backfill", ["missing", "all"])
@pytest.mark.parametrize("after", ["null", "'[\"eu\", 40000]'"])
def test_a_slice_of_the_backfill_reads_no_more_than_its_rows(
    full: Connection, after: str, backfill: str
) -> None:
    full.execute("delete from sidecar.pending")
    full.execute("update sidecar.attachment set backfill = %s", [backfill])
    found = plan(full, statements_of(full)["feed"], after, "5000")
    assert names(found, "note") == {"note_pkey"}
    assert read(found) <= 5000


@pytest.mark.parametrize("phase", ["failures", "rows"])
@pytest.mark.parametrize("after", ["null", "'[\"eu\", 40000]'"])
def test_a_slice_of_the_sweep_reads_no_more_than_its_rows(
    full: Connection, after: str, phase: str
) -> None:
    full.execute(
        "insert into sidecar.failure (attachment, key, error, message, attempts)"
        " select attachment, key, 'model_failed', '', 5 from sidecar.pending;"
        "delete from sidecar.pending where (key ->> 1)::int % 2 = 0"
    )
    row = full.execute(
        f"select s.{phase} from sidecar.attachment a, sidecar.sweep_statements(a.id) s".encode()
    ).fetchone()
    assert row is not None
    found = plan(full, row[0], after, "1000")
    assert names(found, "note") == {"note_pkey"}
    assert names(found, "failure") == {"failure_pkey"}
    assert names(found, "pending") <= {"pending_pkey"}
    assert read(found) <= 3 * 1000


@pytest.fixture
def full_apart(full: Connection) -> Connection:
    """The same with the vectors in a companion table, which has all of them."""
    full.execute("select sidecar.detach('note', 'body', drop_column => true)")
    full.execute(
        "select sidecar.attach('note', 'body', index => 'none', storage => 'table',"
        " model => 'hash')"
    )
    full.execute(
        "alter table note_body_embedding set (autovacuum_enabled = false);"
        "insert into note_body_embedding (region, id, embedding, model, content_hash)"
        " select region, id, array_fill(0.5, array[768])::vector, 'hash',"
        " sha256(convert_to(body, 'UTF8')) from note where id <> 7;"
        "insert into sidecar.pending (attachment, key, lease_token)"
        " select a.id, jsonb_build_array(n.region, n.id), 7 from sidecar.attachment a, note n"
    )
    return full


def test_a_companion_table_is_written_by_key(full_apart: Connection) -> None:
    keys, tokens, generations, vectors = values_of(
        full_apart,
        KEYS,
        array("bigint", "7"),
        array("bigint", "1"),
        "(select array_agg(array_fill(0.5, array[768])::vector) from generate_series(1, 512))",
    )
    write = statements_of(full_apart)["write"]
    found = plan(full_apart, write, keys, tokens, generations, vectors)
    assert names(found, "note") == {"note_pkey"}
    indexes = {n["Index Name"] for n in found if "pending" in n.get("Index Name", "")}
    assert indexes == {"pending_pkey"}
    assert names(found, "note_body_embedding") == {"note_body_embedding_pkey"}
    assert read(found) <= 6 * 512
    assert [n["Actual Rows"] for n in found if n.get("Subplan Name") == "CTE done"] == [512]


def test_a_companions_backfill_passes_over_what_is_current(full_apart: Connection) -> None:
    full_apart.execute("delete from sidecar.pending")
    found = plan(full_apart, statements_of(full_apart)["feed"], "null", "5000")
    assert names(found, "note") == {"note_pkey"}
    assert names(found, "note_body_embedding") == {"note_body_embedding_pkey"}
    assert read(found) <= 2 * 5000
    assert [n["Actual Rows"] for n in found if n.get("Subplan Name") == "CTE queued"] == [1]
