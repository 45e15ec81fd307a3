"""What no event triggers: the heartbeat, the backfill feed, HNSW indexes, rows spent by crashes,
old figures.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable

import asyncpg

from sidecar import __version__
from sidecar.records import Attachment
from sidecar.statements import statement

log = logging.getLogger("sidecar.sweep")

# An application that changes a row of a slice waits until the slice is committed: so a slice is
# short, and it waits for no longer than this for rows that the application holds itself.
FEED_SLICE = 1_000
FEED_PATIENCE = "set local lock_timeout = '20ms'"
FEED_LOW_WATER = 5_000
# Answers that are kept for who asks again: 3 kB each, so 300 MB at most.
CACHE_ENTRIES = 100_000


class Heart:
    """This sidecar's row in sidecar.worker."""

    def __init__(self, pool: asyncpg.Pool, model: str, device: str) -> None:
        self.id = uuid.uuid4()
        self._pool = pool
        self._model = model
        self._device = device

    async def beat(self, backend_pid: int | None, items_per_second: float) -> None:
        """Says that this sidecar lives; older than 10 s it counts as dead."""
        await self._pool.execute(
            statement("heartbeat"),
            self.id,
            socket.gethostname(),
            os.getpid(),
            backend_pid,
            self._device,
            self._model,
            __version__,
            items_per_second,
        )

    async def stop(self) -> None:
        """Takes the row back, so that questions fail at once instead of waiting."""
        await self._pool.execute("delete from sidecar.worker where id = $1", self.id)


async def feed(pool: asyncpg.Pool, attachment: Attachment) -> int:
    """Queues the next slice of an attachment's backfill by key; returns how many rows it queued.

    The slice and the place where to go on are one transaction, so a crash neither skips nor repeats
    any. It ends before a row that an open transaction has queued, for that transaction may roll
    back; the next call looks again.
    """
    size = FEED_SLICE
    while size:
        try:
            return await _feed(pool, attachment, size)
        except asyncpg.LockNotAvailableError:
            size //= 2
    return 0


async def _feed(pool: asyncpg.Pool, attachment: Attachment, size: int) -> int:
    async with pool.acquire() as connection, connection.transaction():
        place = await connection.fetchrow(statement("backfill_room"), attachment.id, FEED_LOW_WATER)
        if place is None:
            return 0
        if place["backfill"] != attachment.backfill:
            return 0
        await connection.execute(FEED_PATIENCE)
        slice_ = await connection.fetchrow(attachment.feed, place["after"], size)
        last = slice_["last_key"] if slice_["seen"] == size else None
        await connection.execute(statement("backfill_note"), attachment.id, last)
    if last is None:
        log.info("backfill_queued", extra={"table": attachment.target})
    return int(slice_["queued"])


class Indexes:
    """Builds the HNSW indexes that attachments still want, one after the other."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._told: set[int] = set()

    async def build(self, attachments: list[Attachment]) -> None:
        """Builds CONCURRENTLY; says once which tables only their owner can index."""
        for attachment in attachments:
            if not attachment.wants_index:
                self._told.discard(attachment.id)
            elif attachment.owned:
                await self._build(attachment)
            elif attachment.id not in self._told:
                self._told.add(attachment.id)
                details = {"table": attachment.target, "mend": "select * from sidecar.doctor()"}
                log.warning("index_needs_owner", extra=details)

    async def _build(self, attachment: Attachment) -> None:
        connection = await self._connect()
        try:
            # Held until the connection closes: of several sidecars one builds.
            if not await connection.fetchval(
                "select pg_try_advisory_lock(hashtext('sidecar index'), $1)", attachment.id
            ):
                return
            for name in await connection.fetch(statement("invalid_indexes"), attachment.id):
                await connection.execute(f"drop index concurrently {name[0]}")
            for step in await connection.fetch(statement("index_steps"), attachment.id):
                log.info("index_build", extra={"table": attachment.target, "sql": step[0]})
                await connection.execute(step[0])
        except asyncpg.PostgresError as error:
            log.warning("index_failed", extra={"table": attachment.target, "error": str(error)})
        finally:
            await connection.close()


async def tidy(pool: asyncpg.Pool, max_attempts: int) -> None:
    """Ends rows whose attempts were spent by crashes, and forgets dead workers and old requests."""
    await pool.execute(statement("give_up_crashed"), max_attempts)
    await pool.execute(statement("trim_cache"), CACHE_ENTRIES)
    await pool.execute(statement("tidy"))
