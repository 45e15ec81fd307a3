"""A row that kills its process becomes a failure; the rows beside it never do."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest
import torch

from sidecar.records import Modality, Vectors
from sidecar.settings import Settings
from tests.database.test_rows import assert_right
from tests.faults.process import Sidecar
from tests.fix_live import HashEncoder, LiveSidecar, wait_until_quiet
from tests.fix_postgres import Connect

POISON = "poison"


def is_poison(tensors: Sequence[torch.Tensor]) -> bool:
    return any(bytes(tensor.tolist()).decode().startswith(POISON) for tensor in tensors)


class Exiting(HashEncoder):
    """Ends its process at one content, as a library that calls exit would."""

    def encode(self, modality: Modality, tensors: Sequence[torch.Tensor]) -> Vectors:
        if is_poison(tensors):
            os._exit(1)
        return super().encode(modality, tensors)


class Faulting(HashEncoder):
    """Dies of a segmentation fault at one content, as a decoder with a bug would."""

    def encode(self, modality: Modality, tensors: Sequence[torch.Tensor]) -> Vectors:
        if is_poison(tensors):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().encode(modality, tensors)


@pytest.mark.parametrize(
    ("encoder", "most", "poisoned"), [(Exiting, 2, [7]), (Faulting, 1, [7, 27])]
)
def test_poison_ends_and_its_neighbours_are_embedded(
    connect: Connect, database: str, encoder: type[HashEncoder], most: int, poisoned: list[int]
) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    # Rows that kill, in the midst of 40 that are always in hand together with them.
    connection.execute(
        "insert into note select g, case when g = any (%s) then %s else 'good ' end || g"
        " from generate_series(1, 40) g",
        [poisoned, POISON],
    )
    starts = 0
    while connection.execute("select exists (select from sidecar.pending)").fetchone() == (True,):
        starts += 1
        assert starts < 20, "the poison never ends"
        sidecar = Sidecar(database, encoder=encoder, lease_seconds=0.3, max_attempts=most)
        while sidecar.process.is_alive():
            if connection.execute("select exists (select from sidecar.pending)").fetchone() != (
                True,
            ):
                break
            sidecar.process.join(0.05)
        sidecar.kill()
    failures = connection.execute(
        "select f.key::text, error, attempts, message from sidecar.failure f"
        " order by (f.key ->> 0)::int"
    ).fetchall()
    assert [failure[:3] for failure in failures] == [
        (f"[{number}]", "crashed", most + 1) for number in poisoned
    ]
    assert "this row alone" in failures[0][3]
    gone = connection.execute("delete from note where id = any (%s)", [poisoned])
    assert gone.rowcount == len(poisoned)
    assert assert_right(connection) == 40 - len(poisoned)


def test_a_row_whose_attempts_were_spent_by_other_rows_deaths_is_served(
    connect: Connect, database: str
) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    connection.execute("insert into note select g, 'good ' || g from generate_series(1, 30) g")
    connection.execute(
        "update sidecar.pending set attempts = 5, lease_token = 1,"
        " lease_until = now() - interval '1 s' where (key ->> 0)::int <= 20"
    )
    sidecar = LiveSidecar(database, Settings(text_batch_size=8)).start()
    try:
        wait_until_quiet(connection)
    finally:
        sidecar.stop()
    assert assert_right(connection) == 30
    assert connection.execute("select count(*) from sidecar.failure").fetchone() == (0,)
    # Nothing was beside any of the 20, before, after, or in the same batch.
    assert sidecar.encoder.batches.count(1) >= 20
    assert sidecar.encoder.asked == 30


def test_rows_beyond_a_lowered_limit_are_not_stuck(connect: Connect, database: str) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    connection.execute("insert into note values (1, 'one')")
    connection.execute("update sidecar.pending set attempts = 3, lane = 2")
    sidecar = LiveSidecar(database, Settings(max_attempts=2)).start()
    try:
        wait_until_quiet(connection)
    finally:
        sidecar.stop()
    assert assert_right(connection) == 1


class Unforeseen(HashEncoder):
    """Forgets a vector at one content, which no stage foresees: it ends the sidecar."""

    def encode(self, modality: Modality, tensors: Sequence[torch.Tensor]) -> Vectors:
        vectors = super().encode(modality, tensors)
        return vectors[1:] if is_poison(tensors) else vectors


def test_attempts_are_not_taken_back_when_an_error_ends_the_sidecar(
    connect: Connect, database: str
) -> None:
    connection = connect()
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select sidecar.attach('note', 'body', index => 'none')")
    connection.execute("insert into note values (1, %s)", [POISON])
    attempts = []
    for _ in range(3):
        sidecar = LiveSidecar(database, Settings(lease_seconds=0.2, max_attempts=2), Unforeseen())
        end_of(sidecar)
        row = connection.execute("select attempts from sidecar.pending").fetchone()
        attempts.append(row and row[0])
        connection.execute("update sidecar.pending set lease_until = now() - interval '1 s'")
    assert attempts == [1, 2, 3]
    sidecar = LiveSidecar(database, Settings(lease_seconds=0.2, max_attempts=2)).start()
    wait_until_quiet(connection)
    sidecar.stop()
    assert connection.execute("select error, attempts from sidecar.failure").fetchall() == [
        ("crashed", 3)
    ]


def end_of(sidecar: LiveSidecar) -> None:
    """Runs it until it ends by itself."""
    sidecar._thread.start()
    sidecar._thread.join(30)
    assert not sidecar._thread.is_alive()
