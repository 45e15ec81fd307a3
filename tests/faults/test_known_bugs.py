"""Bugs that queues and embedding pipelines are known for, each a test.

Some have theirs elsewhere:
- a slow worker's older result overwriting a newer one: test_killed.py,
  test_a_slow_sidecars_older_result_never_overwrites_a_newer_one;
- poison that never ends, for its attempts are rolled back or taken back: test_poison.py;
- one bad attachment stalling every other: test_one_bad_table.py, and here for locks and room;
- an unrelated column's update that re-embeds: tests/database/test_rows.py,
  test_another_columns_update_queues_nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import torch

from sidecar.bell import Bell
from sidecar.database import connect as connect_sidecar
from sidecar.database import create_pool
from sidecar.errors import ServiceFault
from sidecar.queue import Queue
from sidecar.records import Modality, Verdict
from sidecar.sessions import Connection as Session
from sidecar.statements import statement
from tests.database.test_attached_tables import scalar, wait_for
from tests.database.test_rows import assert_right
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect, Connection
from tests.fix_proxy import proxy_to

# Counts the row updates of a table, whatever becomes of the transaction.
COUNT_WRITES = """
create sequence writes;
create function count_write() returns trigger language plpgsql as $$
begin
  perform nextval('writes');
  return null;
end
$$;
"""
WRITES = "select case when is_called then last_value else 0 end from writes"


def attach(connection: Connection, table: str = "note") -> int:
    connection.execute(f"create table {table} (id int primary key, body text)".encode())
    made = connection.execute("select sidecar.attach(%s, 'body', index => 'none')", [table])
    row = made.fetchone()
    assert row is not None
    return int(row[0])


def fill(connection: Connection, rows: int, table: str = "note") -> None:
    connection.execute(
        f"insert into {table} select g, 'row ' || g from generate_series(1, {rows}) g".encode()
    )


def text_of(tensor: torch.Tensor) -> str:
    return bytes(tensor.tolist()).decode()


@pytest.mark.parametrize("finishes_first", ["rescuer", "rescued"])
def test_a_rescuer_never_rewrites_a_finished_row(
    connect: Connect, live: Start, finishes_first: str
) -> None:
    connection = connect()
    attach(connection)
    connection.execute(COUNT_WRITES.encode())
    connection.execute(
        "create trigger count after update of body_embedding on note"
        " for each row execute function count_write()"
    )
    # As many rows as it may hold: it cannot rescue them itself.
    slow = live(lease_seconds=1000.0, text_batch_size=4)
    slow.gates.hold("before_write")
    fill(connection, 16)
    wait_for(connection, "select bool_and(lease_token is not null) from sidecar.pending")
    slow.gates.wait("before_write")
    rescuer = live(lease_seconds=1000.0)
    rescuer.gates.hold("before_write")
    connection.execute("update sidecar.pending set lease_until = now() - interval '1 s'")
    rescuer.gates.wait("before_write")
    order = [rescuer, slow] if finishes_first == "rescuer" else [slow, rescuer]
    order[0].gates.let_go("before_write")
    if finishes_first == "rescuer":
        wait_until_quiet(connection)
    order[1].gates.let_go("before_write")
    wait_until_quiet(connection)
    assert assert_right(connection) == 16
    assert scalar(connection, WRITES) == 16


def test_a_full_batch_of_hopeless_rows_does_not_hide_the_rest(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    attach(connection)
    connection.execute("insert into note select g, 'hopeless ' || g from generate_series(1, 60) g")
    sidecar = live(text_batch_size=8)

    def fails(tensors: Sequence[torch.Tensor]) -> None:
        if any(text_of(tensor).startswith("hopeless") for tensor in tensors):
            raise ValueError("there is no hope")

    sidecar.encoder.fails = fails
    connection.execute("insert into note select g, 'good ' || g from generate_series(61, 70) g")
    wait_for(connection, "select count(body_embedding) = 10 from note")
    assert assert_right(connection, where="id > 60") == 10
    # They are not given up yet either, but wait for their next turn.
    assert scalar(connection, "select count(*) from sidecar.pending") == 60


async def test_a_sidecar_with_the_id_of_one_before_it_gets_nothing_of_its(
    connect: Connect, database: str
) -> None:
    connection = connect()
    attach(connection)
    fill(connection, 10)
    pool = await create_pool(database, 2)
    await pool.execute(statement("register_model"), "hash", 768)
    await pool.execute(statement("start_serving"), "hash")
    await pool.execute(statement("adopt"), "hash")
    # Host and process id are the same.
    before, after = (Queue(pool, "hash", 60.0, 5) for _ in range(2))
    old = await before.claim({"text": 10})
    connection.execute("update sidecar.pending set lease_until = now() - interval '1 s'")
    new = await after.claim({"text": 10})
    assert {claim.token for claim in old}.isdisjoint(claim.token for claim in new)
    assert sorted(claim.key for claim in old) == sorted(claim.key for claim in new)
    there = "select key, attempts, lease_token, lease_until from sidecar.pending order by key"
    pending = connection.execute(there).fetchall()
    await before.renew()
    await before.settle([Verdict(claim, "give_up", error="x", message="x") for claim in old])
    assert connection.execute(there).fetchall() == pending
    await pool.close()


def test_an_attempt_is_committed_before_anything_can_fail(connect: Connect, live: Start) -> None:
    connection = connect()
    attach(connection)
    sidecar = live()
    sidecar.gates.hold("after_claim")
    fill(connection, 3)
    sidecar.gates.wait("after_claim")
    assert connection.execute("select attempts from sidecar.pending").fetchall() == [(1,)] * 3
    sidecar.gates.let_go("after_claim")


@pytest.mark.parametrize("trouble", ["locked", "full"])
def test_one_bad_attachment_does_not_stall_every_other(
    connect: Connect, live: Start, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setitem(Session.arguments["server_settings"], "lock_timeout", "300ms")
    monkeypatch.setattr("sidecar.ledger.REFUSED_DELAY", 1.0)
    connection, migration = connect(), connect()
    attach(connection, "bad")
    attach(connection, "good")
    fill(connection, 100, "bad")
    migration.execute("begin")
    if trouble == "locked":
        migration.execute("lock table bad in access exclusive mode")
    else:
        connection.execute(
            "create function no_room() returns trigger language plpgsql as"
            " $$ begin raise exception 'no space left' using errcode = 'disk_full'; end $$"
        )
        connection.execute(
            "create trigger no_room before update of body_embedding on bad"
            " for each row execute function no_room()"
        )
    # Everything that it may hold can be rows of the bad table.
    live(text_batch_size=4)
    connection.execute("select pg_sleep(0.3)")
    fill(connection, 50, "good")
    wait_for(connection, "select count(body_embedding) = 50 from good")
    assert assert_right(connection, "good") == 50
    if trouble == "full":
        assert scalar(connection, "select count(body_embedding) from bad") == 0
        connection.execute("drop trigger no_room on bad")
    migration.execute("rollback")
    wait_until_quiet(connection)
    assert assert_right(connection, "bad") == 100
    assert scalar(connection, "select count(*) from sidecar.failure") == 0


def test_a_bad_row_in_a_batch_costs_few_calls_of_the_model(connect: Connect, live: Start) -> None:
    connection = connect()
    attach(connection)
    sidecar = live()
    calls: list[int] = []

    def fails(tensors: Sequence[torch.Tensor]) -> None:
        calls.append(len(tensors))
        if any(text_of(tensor) == "row 700" for tensor in tensors):
            raise ValueError("row 700 is bad")

    sidecar.encoder.fails = fails
    fill(connection, 1000)
    wait_for(connection, "select count(body_embedding) = 999 from note")
    assert max(calls) >= 100, "the rows came in small batches, and this proves nothing"
    assert len(calls) < 100


def test_a_bad_row_in_a_batch_costs_few_statements(connect: Connect, live: Start) -> None:
    connection = connect()
    attach(connection)
    connection.execute(COUNT_WRITES.encode())
    connection.execute(
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'not this one'; end $$"
    )
    connection.execute(
        "create trigger refuse before update of body_embedding on note"
        " for each row when (old.id = 700) execute function refuse()"
    )
    connection.execute(
        "create trigger count before update of body_embedding on note"
        " for each statement execute function count_write()"
    )
    live()
    fill(connection, 1000)
    wait_for(connection, "select count(body_embedding) = 999 from note")
    assert scalar(connection, WRITES) < 100


def test_a_batch_too_large_for_the_device_is_not_tried_for_ever(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    attach(connection)
    sidecar = live(max_attempts=1)
    refused: list[int] = []

    def fails(tensors: Sequence[torch.Tensor]) -> None:
        if len(tensors) > 10:
            refused.append(len(tensors))
            raise ServiceFault("The device is out of memory.")

    sidecar.encoder.fails = fails
    fill(connection, 300)
    wait_until_quiet(connection)
    assert assert_right(connection) == 300
    assert scalar(connection, "select count(*) from sidecar.failure") == 0
    assert len(refused) == 1


async def test_a_row_queued_between_connecting_and_listening_is_not_lost(
    connect: Connect, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect()
    attach(connection)
    monkeypatch.setattr("sidecar.bell.POLLS", (1000.0,))

    async def connect_late() -> asyncpg.Connection:
        made = await connect_sidecar(database)
        connection.execute(
            "select setval('sidecar.bell', extract(epoch from now())::bigint + 3600)"
        )
        fill(connection, 1)  # rings, and nobody listens yet
        return made

    pool = await create_pool(database, 1)
    bell = Bell(connect_late, pool)
    listening = asyncio.create_task(bell.listen())
    await asyncio.wait_for(bell.work.wait(), 20)
    assert bell.question.is_set()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await pool.close()


async def test_a_row_queued_between_the_last_look_and_falling_asleep_is_not_lost(
    connect: Connect, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect()
    attach(connection)
    monkeypatch.setattr("sidecar.bell.POLLS", (1000.0,))
    pool = await create_pool(database, 1)
    bell = Bell(partial(connect_sidecar, database), pool)
    fill(connection, 1)  # after the last look, and nobody is said to sleep: it does not ring
    # Falls asleep, and looks once more instead of sleeping at once.
    await asyncio.wait_for(bell.rest(busy=False), 20)
    assert scalar(
        connection, "select last_value > extract(epoch from clock_timestamp()) from sidecar.bell"
    )
    await pool.close()


async def test_a_listening_connection_that_died_without_a_word_is_replaced(
    connect: Connect,
    database: str,
    role: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sidecar.bell.PROBE", 0.5)
    connection = connect()
    with proxy_to(int(parse_qs(urlsplit(database).query)["port"][0])) as proxy:
        pool = await create_pool(database, 1)
        bell = Bell(partial(connect_sidecar, proxy.url(role(database))), pool)
        listening = asyncio.create_task(bell.listen())
        await asyncio.wait_for(bell.listening.wait(), 20)
        bell.listening.clear()
        await asyncio.to_thread(proxy.stall)
        await asyncio.to_thread(proxy.heal)
        await asyncio.wait_for(bell.listening.wait(), 20)
        bell.question.clear()
        connection.execute("notify sidecar_request")
        await asyncio.wait_for(bell.question.wait(), 20)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await pool.close()


def test_a_sidecar_that_is_connected_again_counts_as_alive_at_once(
    connect: Connect, live: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.service.HEARTBEAT", 1000.0)
    connection = connect()
    live()
    wait_for(connection, "select backend_pid is not null from sidecar.worker")
    dead = scalar(connection, "select backend_pid from sidecar.worker")
    connection.execute("select pg_terminate_backend(%s)", [dead])
    wait_for(connection, f"select backend_pid <> {dead} from sidecar.worker")
    assert scalar(connection, "select sidecar.serving_model()") == "hash"


def test_the_pending_count_is_the_number_of_rows(connect: Connect) -> None:
    connection = connect()
    attach(connection)
    fill(connection, 12_345)
    assert scalar(connection, "select pending from sidecar.status") == 12_345


def test_the_vectors_write_queues_nothing(connect: Connect, live: Start) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text, updated_at timestamptz)")
    # With a trigger that could change the column, ours fires at every update, the sidecar's too.
    connection.execute(
        "create function touch() returns trigger language plpgsql as"
        " $$ begin new.updated_at := clock_timestamp(); return new; end $$"
    )
    connection.execute(
        "create trigger touch before update on note for each row execute function touch()"
    )
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    sidecar = live()
    connection.execute("insert into note select g, 'row ' || g from generate_series(1, 20) g")
    wait_until_quiet(connection)
    assert scalar(connection, "select count(updated_at) from note") == 20
    connection.execute("insert into note values (21, 'row 21')")
    wait_until_quiet(connection)
    assert assert_right(connection) == 21
    assert sidecar.encoder.asked == 21


@pytest.mark.parametrize("most", [1, 3, 7, 64])
async def test_a_claim_takes_no_more_than_its_limit(
    connect: Connect, database: str, most: int
) -> None:
    connection = connect()
    for number in range(5):
        attach(connection, f"text_{number}")
        fill(connection, 60, f"text_{number}")
    connection.execute("create table picture (id int primary key, photo bytea)")
    connection.execute("select sidecar.attach('picture', 'photo', index => 'none')")
    connection.execute("insert into picture select g, ''::bytea from generate_series(1, 100) g")
    connection.execute("update sidecar.attachment set model = 'hash', backfill = 'done'")
    connection.execute("update sidecar.pending set lane = 1 + (key ->> 0)::int % 3")
    pool = await create_pool(database, 6)
    limits: dict[Modality, int] = {"text": most, "image": 2}
    taken: Counter[Any] = Counter()

    async def claim() -> None:
        for _ in range(4):  # more than DEPTH claims would have to wait
            claims = await Queue(pool, "hash", 60.0, 5).claim(limits)
            by_modality = Counter(claim.modality for claim in claims)
            assert by_modality["text"] <= most
            assert by_modality["image"] <= 2
            taken.update((claim.attachment, claim.key) for claim in claims)

    async def disturb() -> None:  # rows that change under the claim make it look again
        for number in range(40):
            table = f"public.text_{number % 5}"
            await pool.execute(f"update {table} set body = body || '.' where id % 7 = {number % 7}")

    await asyncio.gather(*(claim() for _ in range(4)), disturb())
    assert taken
    assert set(taken.values()) == {1}, "a row was claimed twice"
    await pool.close()
