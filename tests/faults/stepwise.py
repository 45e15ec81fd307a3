"""A sidecar that moves only when told: the product's own stages, one call a step, with nothing between
two steps but the database.

It joins the stages as the pipeline does. A batch that is in flight stays here until it is moved on,
however old its claims have become by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import asyncpg
import torch

from sidecar.attachments import Attachments
from sidecar.database import REFUSED, RETRYABLE
from sidecar.encoder import Vectors
from sidecar.ledger import Ledger
from sidecar.load import load
from sidecar.queue import DEPTH, Queue
from sidecar.records import Claim, Embedded, Modality, Prepared, Source
from sidecar.request import Requests
from sidecar.sweep import feed, tidy
from sidecar.threads import Threads
from sidecar.write import Result, write
from tests.fix_live import HashEncoder, text_vector

WIDTH = 8
MAX_ATTEMPTS = 3
LEASE = 600.0
MOST_IMAGE_BYTES = 1_000_000

POISON, MOODY = "poison", "moody"


def short_vector(text: str) -> Vectors:
    """What ShortEncoder makes of a text."""
    return text_vector(text)[:WIDTH]


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
        self.batches: list[list[Claim] | list[Source] | list[Prepared] | list[Result]] = []

    def has_room(self, most: int) -> bool:
        """Whether a claim of `most` rows would not wait."""
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
                await feed(self._pool, attachment)

    async def tidy(self) -> None:
        """Ends rows that crashes have spent."""
        await tidy(self._pool, MAX_ATTEMPTS)

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
