"""LISTEN and poll: wakes the pipeline when rows are queued or a question is asked.

A notification is only a hint: it carries no data, and the poll covers one that is missed. Through a
pooler in transaction mode none ever comes, and LISTEN does not say so; hence the probe.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

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
# The listening connection is asked after these many seconds, and may take as long to answer: one
# that a firewall forgot says nothing for ever.
PROBE = 10.0
# Who cannot hear looks for questions this often, s: somebody waits for the answer.
DEAF_POLL = 0.1
# How long a notification to oneself may take, s, and when one that was not heard is tried again.
ECHO, DEAF_RETRY = 5.0, 60.0
DEAF = (
    "set DATABASE_DIRECT_URL to an address that does not go through a pooler; until then the queue"
    " is polled, and the owners of tables build the indexes: select * from sidecar.doctor()"
)


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
        """Of the listening session; None while there is none."""
        self.deaf = False
        """Whether notifications do not get through here."""
        self.listening = asyncio.Event()
        """Set at each new connection; until the heartbeat tells of it, no question is asked."""

    async def listen(self) -> None:
        """Keeps the listening connection open, for ever; rings once after each connection for what
        was missed."""
        delay = 0.1
        while True:
            try:
                connection = await self._connect()
                try:
                    delay = DEAF_RETRY
                    if await self._hears(connection):
                        delay = 0.1
                        await self._stay(connection)
                finally:
                    self.backend_pid = None
                    connection.terminate()
            except RETRYABLE as error:
                reason = str(error) or type(error).__name__
                log.warning("listen_failed", extra={"error": reason, "retry_in_s": delay})
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)

    async def _hears(self, connection: asyncpg.Connection) -> bool:
        """Whether a notification from another session arrives. From the same one it could: where
        the pooler happens to give it the server session that listens."""
        token, heard = uuid.uuid4().hex, asyncio.Event()

        def note(_: object, pid: int, channel: str, payload: str) -> None:
            if payload == token:
                heard.set()

        await connection.add_listener("sidecar_probe", note)
        await self._pool.execute("select pg_notify('sidecar_probe', $1)", token)
        with suppress(TimeoutError):
            await asyncio.wait_for(heard.wait(), ECHO)
        if not heard.is_set() and not self.deaf:
            log.warning("deaf", extra={"mend": DEAF})
        self.deaf = not heard.is_set()
        return heard.is_set()

    async def _stay(self, connection: asyncpg.Connection) -> None:
        """Listens until the connection is lost."""
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        await connection.add_listener("sidecar", self._rung_for_work)
        await connection.add_listener("sidecar_request", self._rung_for_question)
        self.backend_pid = await connection.fetchval("select pg_backend_pid()")
        self.listening.set()
        self.work.set()
        self.question.set()
        await _until(gone, connection)
        log.warning("listen_lost")

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
        """Returns when a request may wait: rung, or after a second; sooner where none can ring."""
        try:
            await asyncio.wait_for(
                self.question.wait(), POLLS[-1] if self.backend_pid else DEAF_POLL
            )
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
        if not self.deaf:  # else writers would ring for nobody
            await self._pool.execute(statement("sleep"), SLEEP_NOTE)
        self._asleep = True
        self._noted = time.monotonic()


async def _until(gone: asyncio.Event, connection: asyncpg.Connection) -> None:
    """Returns when the connection is closed; raises one of RETRYABLE when it does not answer."""
    while not gone.is_set():
        try:
            await asyncio.wait_for(gone.wait(), PROBE)
        except TimeoutError:
            await connection.execute("select 1", timeout=PROBE)
