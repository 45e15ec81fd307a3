"""status, queue, failures, workers, explain, doctor and wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from psycopg import errors
from psycopg.rows import dict_row

from tests.fix_postgres import Connect, Connection
from tests.fix_shop import Shop
from tests.fix_sidecar import AnsweringSidecar


def only(connection: Connection, query: str) -> dict[str, Any]:
    with connection.cursor(row_factory=dict_row) as cursor:
        (row,) = cursor.execute(query).fetchall()
    return row


def queue(connection: Connection, number: int, **columns: Any) -> None:
    connection.execute(
        "insert into sidecar.pending"
        "   (attachment, key, lane, attempts, due_at, queued_at, lease_until)"
        " select id, jsonb_build_array(%(number)s::bigint), %(lane)s, %(attempts)s,"
        "   now() + %(due_in)s::interval, now() - %(age)s::interval, now() + %(leased)s::interval"
        " from sidecar.attachment",
        {
            "number": number,
            "lane": 1,
            "attempts": 0,
            "due_in": "0",
            "age": "0",
            "leased": None,
            **columns,
        },
    )


def fail(connection: Connection, number: int) -> None:
    connection.execute(
        "insert into sidecar.failure (attachment, key, error, message, attempts)"
        " select id, jsonb_build_array(%s::bigint), 'not_an_image', 'They are no picture.', 1"
        " from sidecar.attachment",
        [number],
    )


def test_status_counts_what_is_there(shop: Shop) -> None:
    connection = shop(10)
    connection.execute("update products set photo_embedding = null where id > 7")
    queue(connection, 8, age="1 minute")
    queue(connection, 9, leased="1 minute")
    fail(connection, 10)
    row = only(connection, "select * from sidecar.status")
    assert row["oldest_pending"] >= timedelta(minutes=1)
    del row["oldest_pending"]
    assert row == {
        "target": "products",
        "source_column": "photo",
        "embedding_column": "photo_embedding",
        "model": None,
        "modality": "image",
        "state": "live",
        "rows": 10,
        "embedded": 7,
        "pending": 2,
        "leased": 1,
        "failed": 1,
        "truncated": 0,
        "rate": 0.0,
        "eta": None,
        "estimated": False,
    }


def test_status_follows_renamed_columns_and_tables(shop: Shop) -> None:
    connection = shop(1)
    connection.execute('alter table products rename photo to "the photo"')
    connection.execute("alter table products rename photo_embedding to v")
    connection.execute("alter table products rename to things")
    row = only(
        connection,
        "select target::text, source_column, embedding_column, embedded from sidecar.status",
    )
    assert row == {
        "target": "things",
        "source_column": "the photo",
        "embedding_column": "v",
        "embedded": 1,
    }


def test_rate_is_that_of_the_last_minute_and_eta_follows(shop: Shop) -> None:
    connection = shop(1)
    connection.execute("update sidecar.attachment set created_at = now() - interval '1 hour'")
    connection.execute(
        "insert into sidecar.progress (attachment, minute, embedded, truncated)"
        " select id, date_trunc('minute', clock_timestamp()) - m * interval '1 minute',"
        "   case m when 0 then 10 * extract(second from clock_timestamp()) else 600 end, 2"
        " from sidecar.attachment, generate_series(0, 5) m"
    )
    for number in range(100, 200):
        queue(connection, number)
    row = only(connection, "select rate, eta, truncated from sidecar.status")
    assert row["rate"] == pytest.approx(10, abs=1)
    assert timedelta(seconds=9) <= row["eta"] <= timedelta(seconds=12)
    assert row["truncated"] == 12


def test_status_estimates_only_very_large_tables(shop: Shop) -> None:
    connection = shop(4)
    connection.execute("update products set photo_embedding = null where id = 1")
    connection.execute("analyze products")
    connection.execute("update pg_class set reltuples = 8e6 where oid = 'products'::regclass")
    row = only(connection, "select rows, embedded, estimated from sidecar.status")
    assert row == {"rows": 8_000_000, "embedded": 6_000_000, "estimated": True}


def test_workers_lists_only_the_living(
    connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection = connect()
    connection.execute(
        "insert into sidecar.worker (id, host, pid, device, model, version, last_heartbeat)"
        " values (gen_random_uuid(), 'dead', 1, 'cpu', 'hash', '0', now() - interval '11 s')"
    )
    row = only(connection, "select host, device, model from sidecar.workers")
    assert row == {"host": "test", "device": "cpu", "model": "hash"}


def test_explain_says_what_is_with_a_row(shop: Shop) -> None:
    connection = shop(8)
    connection.execute("update products set photo_embedding = null where id > 1")
    connection.execute("update products set photo = null where id = 2")
    connection.execute("delete from sidecar.pending")
    queue(connection, 3, lane=3)
    queue(connection, 4, leased="1 minute", attempts=1)
    fail(connection, 5)
    queue(connection, 6, lane=2, attempts=2, due_in="1 minute")

    def explain(number: int) -> tuple[str, str]:
        row = connection.execute(
            "select state, why from sidecar.explain('products', 'photo', %s)",
            [f"[{number}]"],
        ).fetchone()
        assert row is not None
        return row[0], row[1]

    assert explain(1)[0] == "current"
    assert explain(2) == ("skipped", "photo is NULL, and so is the vector")
    assert explain(3)[0] == "pending"
    assert "sidecar run" in explain(3)[1]
    assert explain(4)[0] == "leased"
    assert explain(5)[0] == "failed"
    assert "not_an_image" in explain(5)[1]
    assert "sidecar.retry" in explain(5)[1]
    assert explain(7)[0] == "skipped"
    assert "sidecar.reembed" in explain(7)[1]
    assert "no row" in explain(99)[1]
    connection.execute(
        "insert into sidecar.worker (id, host, pid, device, model, version)"
        " values (gen_random_uuid(), 'h', 1, 'cpu', 'm', '0')"
    )
    assert "backfill" in explain(3)[1]
    assert "2 attempts" in explain(6)[1]
    connection.execute("select sidecar.pause('products', 'photo')")
    assert "sidecar.resume" in explain(3)[1]
    connection.execute("update sidecar.attachment set backfill = 'missing'")
    assert explain(7)[0] == "pending"


def findings(connection: Connection) -> dict[str, tuple[str, str]]:
    rows = connection.execute("select finding, severity, mend from sidecar.doctor()").fetchall()
    return {finding: (severity, mend) for finding, severity, mend in rows}


def test_doctor_finds_nothing_where_all_is_well(
    shop: Shop, answering_sidecar: AnsweringSidecar
) -> None:
    assert findings(shop(3, "hnsw")) == {}


def test_doctor_tells_each_thing_that_is_wrong_and_its_mend_works(
    shop: Shop, answering_sidecar: AnsweringSidecar
) -> None:
    connection = shop(3, "hnsw")
    connection.execute("alter table products disable trigger sidecar_1_update")
    connection.execute("drop trigger sidecar_1_insert on products")
    connection.execute("drop index products_photo_embedding_idx")
    fail(connection, 1)
    queue(connection, 2, age="6 minutes")
    connection.execute("drop server sidecar_loopback cascade")
    connection.execute("update sidecar.attachment set model = 'older'")
    found = findings(connection)
    told = "\n".join(found)
    for word in (
        "a trigger is missing",
        "sidecar_1_update is disabled",
        "no HNSW index",
        "failed with not_an_image",
        "wait for more than 5 minutes",
        "sidecar_loopback",
        "are of older",
    ):
        assert word in told
    assert len(found) == 7
    for _, mend in found.values():
        for prefix in (
            "ALTER TABLE",
            "SELECT sidecar.install",
            "SELECT sidecar.reembed",
            "create index",
        ):
            if mend.startswith(prefix):
                connection.execute(mend.split(";")[0])
    told = "\n".join(findings(connection))
    for word in ("trigger", "no HNSW index", "are of older"):
        assert word not in told


def test_doctor_finds_a_dead_sidecar_an_invalid_index_and_a_lost_table(shop: Shop) -> None:
    connection = shop(3, "hnsw")
    connection.execute(
        "insert into sidecar.worker (id, host, pid, device, model, version, last_heartbeat)"
        " values (gen_random_uuid(), 'dead', 1, 'cpu', 'hash', '0', now() - interval '30 s')"
    )
    connection.execute(
        "update pg_index set indisvalid = false"
        " where indexrelid = 'products_photo_embedding_idx'::regclass"
    )
    connection.execute("create table lost (id int primary key, title text)")
    connection.execute("select sidecar.attach('lost', 'title')")
    connection.execute("drop table lost")
    told = "\n".join(findings(connection))
    assert "no sidecar is running" in told
    assert "has not answered for" in told
    assert "is not valid" in told
    assert "public.lost, of which title is attached, was dropped" in told


def test_doctor_knows_a_database_without_dblink(connect: Connect, database16: str) -> None:
    assert "the extension dblink is missing" in "\n".join(findings(connect(database16)))


def test_wait_returns_when_what_was_there_before_is_done(
    shop: Shop, connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection, other = shop(3), connect()
    queue(connection, 1)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(connection.execute, "call sidecar.wait('products', 'photo')")
        time.sleep(0.3)
        assert not waiting.done()
        queue(other, 2)
        other.execute("delete from sidecar.pending where key = '[1]'")
        waiting.result(timeout=5)
    assert other.execute("select key from sidecar.pending").fetchall() == [([2],)]


def test_wait_waits_for_the_backfill_and_what_it_queued(
    shop: Shop, connect: Connect, answering_sidecar: AnsweringSidecar
) -> None:
    connection, other = shop(3), connect()
    connection.execute("update sidecar.attachment set backfill = 'missing'")
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(connection.execute, "call sidecar.wait('products', 'photo')")
        time.sleep(0.2)
        queue(other, 2, lane=3)
        other.execute("update sidecar.attachment set backfill = 'done'")
        time.sleep(0.2)
        assert not waiting.done()
        other.execute("delete from sidecar.pending")
        waiting.result(timeout=5)


def test_wait_that_is_too_long_is_query_canceled_with_the_count(
    shop: Shop, answering_sidecar: AnsweringSidecar
) -> None:
    connection = shop(3)
    queue(connection, 1)
    queue(connection, 2)
    with pytest.raises(errors.QueryCanceled) as raised:
        connection.execute("call sidecar.wait('products', 'photo', timeout => '200ms')")
    assert (raised.value.diag.message_primary or "").startswith("2 rows of ")


def test_wait_fails_at_once_when_waiting_cannot_help(shop: Shop) -> None:
    connection = shop(3)
    connection.execute("call sidecar.wait('products', 'photo')")
    queue(connection, 1)
    start = time.monotonic()
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as raised:
        connection.execute("call sidecar.wait('products', 'photo')")
    assert "sidecar run" in (raised.value.diag.message_hint or "")
    connection.execute("select sidecar.pause('products', 'photo')")
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as paused:
        connection.execute("call sidecar.wait('products', 'photo')")
    assert "sidecar.resume" in (paused.value.diag.message_hint or "")
    assert time.monotonic() - start < 2


def test_views_hide_tables_that_the_caller_may_not_read(
    shop: Shop, database: str, role: Callable[..., str], connect: Connect
) -> None:
    connection = shop(3)
    queue(connection, 1)
    fail(connection, 2)
    reader = connect(role(database))
    connection.execute(f"grant sidecar_user to {reader.info.user}")
    looks = ["select * from sidecar." + view for view in ("status", "failures", "queue")]
    for look in looks:
        assert reader.execute(look).fetchall() == []
    reader.execute("select * from sidecar.doctor()")
    connection.execute(f"grant select on products to {reader.info.user}")
    for look in looks:
        assert len(reader.execute(look).fetchall()) == 1
    with pytest.raises(errors.InsufficientPrivilege):
        reader.execute("select * from sidecar.failure")
