"""A sidecar that moves only when told: the product's own stages, one call a step, and nothing
between two steps but the database.

It joins the stages as the pipeline does. A batch that is in flight stays here until it is moved on,
however old its claims have become by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from typing import Any

import asyncpg
import numpy as np
import psycopg
import pytest
import torch
from psycopg import errors

from sidecar.attachments import Attachments
from sidecar.database import REFUSED, RETRYABLE, create_pool
from sidecar.ledger import Ledger
from sidecar.load import load
from sidecar.prepare import prepare
from sidecar.queue import DEPTH, Queue
from sidecar.records import Claim, Embedded, Modality, Prepared, Source, Vectors
from sidecar.request import Requests
from sidecar.slices import Slices
from sidecar.statements import statement
from sidecar.sweep import feed
from sidecar.threads import Threads
from sidecar.write import Result, write
from tests.fix_live import HashEncoder, text_vector

WIDTH = 8
MAX_ATTEMPTS = 3
LEASE = 600.0
MOST_IMAGE_BYTES = 1_000_000

SESSIONS = 3
STEP = 20.0
"""Seconds after which a step of a sidecar counts as waiting for the application, which waits for it
in turn: such a wait would never end."""

POISON, MOODY = "poison", "moody"

Connection = psycopg.Connection[Any]


def short_vector(text: str) -> Vectors:
    """What ShortEncoder makes of a text."""
    return text_vector(text)[:WIDTH]


def is_right(content: str | None, vector: list[float] | None) -> bool:
    """Whether the vector is the content's; that of NULL is NULL."""
    if content is None or vector is None:
        return content is None and vector is None
    return np.array_equal(np.array(vector, np.float32), short_vector(content))


class ShortEncoder(HashEncoder):
    """HashEncoder with vectors of 8 numbers. POISON never becomes a vector, MOODY only in a good
    mood."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.good_mood = True
        self.fails = self._refuse

    def encode(self, modality: Modality, tensors: Sequence[torch.Tensor]) -> Vectors:
        vectors: Vectors = super().encode(modality, tensors)[:, :WIDTH]
        return vectors

    def _refuse(self, tensors: Sequence[torch.Tensor]) -> None:
        for tensor in tensors:
            text = bytes(tensor.tolist()).decode()
            if text == POISON or (text == MOODY and not self.good_mood):
                raise RuntimeError(f"the model cannot make a vector of {text}")


class StepwiseSidecar:
    """`batches` are in flight, each at its own stage: claims, sources, model inputs or results."""

    def __init__(self, pool: asyncpg.Pool, threads: Threads, model: str) -> None:
        self._pool = pool
        self._threads = threads
        self.attachments = Attachments(pool, model)
        self.queue = Queue(pool, model, LEASE, MAX_ATTEMPTS)
        self.ledger = Ledger(self.queue, Requests(pool, model), MAX_ATTEMPTS)
        self._slices = Slices()
        self.batches: list[list[Claim] | list[Source] | list[Prepared] | list[Result]] = []

    def has_room(self, most: int) -> bool:
        """Whether a claim of `most` rows would not wait."""
        if self.queue._spent or self.queue._alone():
            return not self.queue.held
        return self.queue.held_by["text"] + most <= DEPTH * most

    async def claim(self, most: int) -> None:
        """Leases at most so many rows; a batch for each attachment."""
        claims = await self.queue.claim({"text": most})
        for _, group in groupby(claims, lambda claim: claim.attachment):
            self.batches.append(list(group))

    async def advance(self, number: int) -> None:
        """Takes one batch to the next stage."""
        batch = self.batches.pop(number % len(self.batches))
        match batch[0]:
            case Claim():
                await self._load([claim for claim in batch if isinstance(claim, Claim)])
            case Source():
                await self._prepare([source for source in batch if isinstance(source, Source)])
            case Prepared():
                await self._encode([item for item in batch if isinstance(item, Prepared)])
            case _:
                await self._write([result for result in batch if isinstance(result, tuple)])

    async def give_back(self, number: int) -> None:
        """The service is at fault: a batch goes back uncharged."""
        batch = self.batches.pop(number % len(self.batches))
        await self.ledger.come_back([_claim(item) for item in batch])

    async def feed(self) -> None:
        """Queues one slice of each backfill."""
        for attachment in await self.attachments.refresh():
            if attachment.backfill != "done":
                await feed(self._pool, attachment, self._slices)

    async def tidy(self) -> None:
        """Ends rows that crashes have spent."""
        await self.queue.find_spent()

    async def _load(self, claims: list[Claim]) -> None:
        left = dict.fromkeys(claims)
        try:
            if attachment := await self.attachments.get(claims[0].attachment):
                async for loaded in load(self._pool, attachment, claims, MOST_IMAGE_BYTES):
                    for claim in loaded.claims():
                        del left[claim]
                    await self.ledger.settle(loaded.verdicts)
                    if loaded.sources:
                        self.batches.append(loaded.sources)
        except (*RETRYABLE, asyncpg.PostgresError) as error:
            self.attachments.refused(claims[0].attachment, "load", error)
        await self.ledger.come_back(list(left))

    async def _prepare(self, sources: list[Source]) -> None:
        self._deliver([Embedded(s.origin, None) for s in sources if s.content is None])
        wanted = [source for source in sources if source.content is not None]
        async for prepared, faults in self._threads.prepare(wanted):
            if prepared:
                self.batches.append(prepared)
            await self.ledger.blame(faults)

    async def _encode(self, batch: list[Prepared]) -> None:
        embedded, faults = await self._threads.encode(batch)
        self._deliver(embedded)
        await self.ledger.blame(faults)

    def _deliver(self, embedded: list[Embedded]) -> None:
        if embedded:
            self.batches.append([(_claim(result), result) for result in embedded])

    async def _write(self, results: list[Result]) -> None:
        claims = [claim for claim, _ in results]
        try:
            if attachment := await self.attachments.get(claims[0].attachment):
                done, claims, faults = await write(self._pool, attachment, results)
                self.ledger.written(done)
                await self.ledger.blame(faults)
            await self.ledger.come_back(claims, held=attachment is not None)
        except (*RETRYABLE, *REFUSED) as error:
            self.attachments.refused(claims[0].attachment, "write", error)
            await self.ledger.come_back(claims)


def _claim(item: Claim | Source | Prepared | Embedded | Result) -> Claim:
    if isinstance(item, tuple):
        return item[0]
    origin = item if isinstance(item, Claim) else item.origin
    assert isinstance(origin, Claim)
    return origin


class Session:
    """One connection of the application. An error ends its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.execute("set lock_timeout = '20ms'")
        self.isolation: str | None = None
        self.savepoints = 0

    def begin(self, isolation: str = "read committed") -> None:
        if self.isolation is None:
            self._connection.execute(f"begin isolation level {isolation}".encode())
            self.isolation = isolation

    def end(self, how: str) -> None:
        if self.isolation is not None:
            self._connection.execute(how.encode())
        self.isolation, self.savepoints = None, 0

    def savepoint(self) -> None:
        if self.isolation is not None:
            self.savepoints += 1
            self._connection.execute(f"savepoint point_{self.savepoints}".encode())

    def roll_back_to_savepoint(self) -> None:
        if self.savepoints:
            self._connection.execute(f"rollback to point_{self.savepoints}".encode())
            self.savepoints -= 1

    def run(self, others_open: bool, query: str, *values: object) -> None:
        """The errors that an application causes itself end its transaction; all others are
        findings."""
        expected: list[type[psycopg.Error]] = [
            errors.UniqueViolation,
            errors.ObjectNotInPrerequisiteState,  # what is not attached
        ]
        if others_open:
            expected.append(errors.LockNotAvailable)
        if self.isolation == "repeatable read":
            expected.append(errors.SerializationFailure)
        try:
            self._connection.execute(query.encode(), values)
        except tuple(expected):
            self.end("rollback")


class Ground:
    """A database with its connections, the same for all examples."""

    def __init__(self, url: str, resources: ExitStack) -> None:
        def open_connection() -> Connection:
            return resources.enter_context(psycopg.connect(url, autocommit=True))

        self.runner = resources.enter_context(asyncio.Runner())
        self.pool: asyncpg.Pool = self.runner.run(create_pool(url, 2))
        resources.callback(lambda: self.runner.run(self.pool.close()))
        self.encoder = ShortEncoder()
        prepare_one = partial(prepare, model=self.encoder, max_pixels=1_000_000)
        self.threads = Threads(prepare_one, self.encoder.encode)
        resources.callback(self.threads.stop)
        self.observer = open_connection()
        self.sessions = [Session(open_connection()) for _ in range(SESSIONS)]
        self.examples = self.steps = 0
        for name, values in (("register_model", ("hash", 8)), ("start_serving", ("hash",))):
            self.runner.run(self.pool.execute(statement(name), *values))

    def step(self, call: Coroutine[Any, Any, object]) -> None:
        """One step of a sidecar, which must not wait for anybody."""
        try:
            self.runner.run(asyncio.wait_for(call, STEP))
        except TimeoutError:
            raise AssertionError("a sidecar waits for the application") from None

    def sidecar(self) -> StepwiseSidecar:
        return StepwiseSidecar(self.pool, self.threads, self.encoder.name)

    def clean(self) -> None:
        """As it was before the first example."""
        for session in self.sessions:
            session.end("rollback")
        self.observer.execute("select sidecar.detach_all()")
        for table in ("pending", "failure", "progress"):
            self.observer.execute(f"delete from sidecar.{table}".encode())
        self.observer.execute("drop table if exists note")
        self.observer.execute(
            "create table note (id int primary key, body text, title text, price int default 0)"
        )
        self.encoder.good_mood = True


@pytest.fixture
def ground(database: str) -> Iterator[Ground]:
    with ExitStack() as resources:
        yield Ground(database, resources)
