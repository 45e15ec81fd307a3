"""LISTEN and poll: wakes the pipeline when rows are queued or a question is asked.

A notification is only a hint: it carries no data, and the poll covers one that is missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import asyncpg

from sidecar import metrics
from sidecar.database import RETRYABLE
from sidecar.statements import statement

log = logging.getLogger("sidecar.bell")

# While asleep the queue is polled after these many seconds, for rows whose transaction began before
# the sidecar said that it sleeps and committed after it looked; the last one repeats.
POLLS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
BUSY_POLL = 0.05
# How long the database is told at a time that a sidecar sleeps: a killed one must not cost writers
# for longer.
SLEEP_NOTE = 10.0


class Bell:
    """One listening connection. `work` is set when rows may be due, `question` when a request may
    wait."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], pool: asyncpg.Pool):
        self._connect = connect
        self._pool = pool
        self._asleep = False
        self._noted = 0.0
        self._polls = 0
        self.work = asyncio.Event()
        self.question = asyncio.Event()
        self.backend_pid: int | None = None

    async def listen(self) -> None:
        """Keeps the listening connection open, for ever; rings once after each connection for what
        was missed."""
        delay = 0.1
        while True:
            try:
                connection = await self._connect()
                try:
                    gone = asyncio.Event()
                    connection.add_termination_listener(lambda _, gone=gone: gone.set())
                    await connection.add_listener("sidecar", self._rung_for_work)
                    await connection.add_listener("sidecar_request", self._rung_for_question)
                    self.backend_pid = connection.get_server_pid()
                    self.work.set()
                    self.question.set()
                    delay = 0.1
                    await gone.wait()
                    log.warning("listen_lost")
                finally:
                    self.backend_pid = None
                    connection.terminate()
            except RETRYABLE as error:
                log.warning("listen_failed", extra={"error": str(error), "retry_in_s": delay})
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)

    def _rung_for_work(self, *_: object) -> None:
        metrics.rung("rows")
        self.work.set()

    def _rung_for_question(self, *_: object) -> None:
        metrics.rung("questions")
        self.question.set()

    async def rest(self, busy: bool) -> None:
        """Returns when work may be there: rung, or after a poll interval that grows while nothing
        comes. Who is busy with earlier work is not rung for more."""
        if not self._asleep and not busy:
            self._polls = 0
            await self._note_sleep()
            return  # look once more: what was committed before the note did not ring
        if self._asleep and time.monotonic() > self._noted + SLEEP_NOTE / 2:
            await self._note_sleep()
        seconds = BUSY_POLL if busy else POLLS[min(self._polls, len(POLLS) - 1)]
        try:
            await asyncio.wait_for(self.work.wait(), seconds)
        except TimeoutError:
            self._polls += 1
            metrics.polled("rows")
        self.work.clear()

    async def wait_for_question(self) -> None:
        """Returns when a request may wait: rung, or after a second."""
        try:
            await asyncio.wait_for(self.question.wait(), POLLS[-1])
        except TimeoutError:
            metrics.polled("questions")
        self.question.clear()

    async def wake(self) -> None:
        """Tells writers that the sidecar is awake and need not be rung."""
        if self._asleep:
            self._asleep = False
            await self._pool.execute(statement("sleep"), 0.0)

    async def _note_sleep(self) -> None:
        self.work.clear()
        await self._pool.execute(statement("sleep"), SLEEP_NOTE)
        self._asleep = True
        self._noted = time.monotonic()
