"""Joins the stages in the order of the data: claim, load, prepare, batch, model, write.

The claims bound memory. A question takes the same way from prepare on, before all rows.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import groupby

import asyncpg

from sidecar.attachments import Attachments
from sidecar.batch import Batcher
from sidecar.bell import Bell
from sidecar.calls import Calls
from sidecar.database import REFUSED, RETRYABLE, persistently
from sidecar.encoder import Encoder
from sidecar.errors import ServiceFault
from sidecar.ledger import Ledger
from sidecar.load import Loader
from sidecar.prepare import prepare
from sidecar.queue import Queue
from sidecar.records import Claim, Embedded, Modality, Source
from sidecar.request import Requests
from sidecar.settings import Settings
from sidecar.signals import Signal, silent
from sidecar.threads import Threads
from sidecar.write import Result, by_attachment, write

WRITERS = 3


class Pipeline:
    """One task a stage; `run` serves rows and questions until it is cancelled."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        bell: Bell,
        model: Encoder,
        settings: Settings,
        signal: Signal = silent,
    ) -> None:
        self._pool, self._bell, self._signal, self._settings = pool, bell, signal, settings
        self.attachments = Attachments(pool, model.name)
        self.queue = Queue(pool, model.name, settings.lease_seconds, settings.max_attempts)
        self.requests = Requests(pool, model.name)
        self.ledger = Ledger(self.queue, self.requests, settings.max_attempts)
        self.calls = Calls(lambda s: self._tasks.create_task(self._prepare(s)), settings.http_queue)
        self._loader = Loader(pool, settings)
        self._threads = Threads(partial(prepare, model=model), model.encode, settings)
        most: dict[Modality, int] = {"image": settings.batch_size, "text": settings.text_batch_size}
        self._batcher = Batcher(most, settings.batch_window_ms / 1000)
        self._results: asyncio.Queue[list[Result]] = asyncio.Queue(WRITERS)
        self._tasks, self._modelled = asyncio.TaskGroup(), asyncio.Event()

    async def run(self) -> None:
        try:
            async with self._tasks as tasks:
                for stage in (self._claim, self._ask, self._encode, *[self._write] * WRITERS):
                    tasks.create_task(stage())
        finally:
            self._threads.stop()
            await self._loader.close()

    async def drain(self) -> None:
        """Takes nothing more; returns when what the model has is written."""
        self._batcher.close()
        await self._modelled.wait()
        await self._results.join()

    async def _claim(self) -> None:
        while not self._batcher.closed:
            claim = partial(self.queue.claim, self._batcher.limits)
            if claims := await persistently(claim, "claim"):
                await self._signal("after_claim")
            for attachment, group in groupby(claims, lambda claim: claim.attachment):
                self._tasks.create_task(self._load(attachment, list(group)))
            rest = partial(self._bell.rest, busy=self.queue.full)
            await persistently(self._bell.wake if claims else rest, "bell")

    async def _load(self, attachment_id: int, claims: list[Claim]) -> None:
        left, held = set(claims), False
        try:
            if attachment := await self.attachments.get(attachment_id):
                async with self._loader.load(attachment, claims) as slices:
                    async for loaded in slices:
                        await self._signal("after_load")
                        left.difference_update(loaded.claims())
                        await self.ledger.settle(loaded.verdicts)
                        await self._prepare(loaded.sources)
        except (*RETRYABLE, asyncpg.PostgresError) as error:
            held = self.attachments.refused(attachment_id, "load", error)
        await self.ledger.come_back(list(left), held)

    async def _ask(self) -> None:
        while not self._batcher.closed:
            if sources := await persistently(self.requests.take, "take questions"):
                self._tasks.create_task(self._prepare(sources))
            else:
                await self._bell.wait_for_question()

    async def _prepare(self, sources: list[Source]) -> None:
        await self._deliver([Embedded(s.origin, None) for s in sources if s.content is None])
        wanted = [source for source in sources if source.content is not None]
        async for prepared, faults in self._threads.prepare(wanted):
            self._batcher.put(prepared)
            await self.ledger.blame(faults)

    async def _encode(self) -> None:
        while batch := await self._batcher.next():
            await self._signal("before_model")
            try:
                embedded, faults = await self._threads.encode(batch)
                self._batcher.learn(batch, self._threads.seconds)
                await self._deliver(embedded)
                await self.ledger.blame(faults)
            except ServiceFault as fault:
                self._batcher.shrink(batch)
                await self.ledger.back_off([item.origin for item in batch], fault)
        self._modelled.set()

    async def _deliver(self, embedded: list[Embedded]) -> None:
        if answers := [result for result in embedded if not isinstance(result.origin, Claim)]:
            await self._signal("before_reply")
            await self.ledger.answer(answers)
        for results in by_attachment(embedded):
            await self._results.put(results)

    async def _write(self) -> None:
        while True:
            results = await self._results.get()
            claims = [claim for claim, _ in results]
            await self._signal("before_write")
            try:
                if attachment := await self.attachments.get(claims[0].attachment):
                    done, claims, faults = await write(self._pool, attachment, results)
                    self.ledger.written(done)
                    await self.ledger.blame(faults)
                await self.ledger.come_back(claims, held=attachment is not None)
            except (*RETRYABLE, *REFUSED) as error:
                held = self.attachments.refused(claims[0].attachment, "write", error)
                await self.ledger.come_back(claims, held)
            self._results.task_done()
            await self._signal("after_write")
            self._bell.work.set()
