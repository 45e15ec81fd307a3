"""What no event triggers: the heartbeat, the backfill feed, HNSW indexes, old figures."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable

import asyncpg

from sidecar import __version__
from sidecar.records import Attachment
from sidecar.slices import LOCK_TIMEOUT, Slices
from sidecar.statements import statement

log = logging.getLogger("sidecar.sweep")

FEED_LOW_WATER = 5_000
# Slices that are queued once the queue was found below that.
FEED_SLICES = 10
# Answers that are kept for who asks again: 3 kB each, so 300 MB at most.
CACHE_ENTRIES = 100_000


class Heart:
    """This sidecar's row in sidecar.worker."""

    def __init__(self, pool: asyncpg.Pool, model: str, device: str) -> None:
        self.id = uuid.uuid4()
        self._pool = pool
        self.model = model
        self._device = device

    async def beat(self, backend_pid: int | None, items_per_second: float) -> bool:
        """Says that this sidecar lives; older than 10 s it counts as dead. Whether its model is
        known: not where the schema was made anew."""
        known: bool = await self._pool.fetchval(
            statement("heartbeat"),
            self.id,
            socket.gethostname(),
            os.getpid(),
            backend_pid,
            self._device,
            self.model,
            __version__,
            items_per_second,
        )
        return known

    async def stop(self) -> None:
        """Takes the row back, so that questions fail at once instead of waiting."""
        await self._pool.execute("delete from sidecar.worker where id = $1", self.id)


async def feed(pool: asyncpg.Pool, attachment: Attachment, slices: Slices) -> int:
    """Queues the next slices of a backfill by key; returns how many rows it looked at.

    A row that the application holds is waited for, but not here.
    """
    seen = 0
    for number in range(FEED_SLICES):
        low_water = None if number else FEED_LOW_WATER
        try:
            size = slices.size(attachment.id)
            found = await _feed(pool, attachment, size, low_water)
        except asyncpg.LockNotAvailableError:
            if not slices.met_lock(attachment.id):
                break
        else:
            slices.went_well(attachment.id)
            seen += found
            if found < size:
                break
    return seen


async def _feed(
    pool: asyncpg.Pool, attachment: Attachment, size: int, low_water: int | None
) -> int:
    """The slice and the place where to go on are one transaction, so a crash neither skips nor
    repeats any."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(LOCK_TIMEOUT)
        place = await connection.fetchrow(statement("backfill_room"), attachment.id, low_water)
        if place is None:
            return 0
        if place["backfill"] != attachment.backfill:
            return 0
        slice_ = await connection.fetchrow(attachment.feed, place["after"], size)
        last = slice_["last_key"] if slice_["seen"] == size else None
        await connection.execute(statement("backfill_note"), attachment.id, last)
    if last is None:
        log.info("backfill_queued", extra={"table": attachment.target})
    return int(slice_["seen"])


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
            await connection.execute("set lock_timeout = 0")  # it waits for old transactions to end
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


async def tidy(pool: asyncpg.Pool) -> None:
    """Forgets dead workers, old requests and the oldest answers."""
    await pool.execute(statement("trim_cache"), CACHE_ENTRIES)
    await pool.execute(statement("tidy"))
