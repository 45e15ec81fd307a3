"""What waits in the database, for who scrapes: one query, and not again before it was worth it."""

from __future__ import annotations

import asyncio
import logging
import time

import asyncpg

from sidecar import metrics
from sidecar.database import RETRYABLE
from sidecar.statements import statement

log = logging.getLogger("sidecar.backlog")

FRESH = 5.0
"""Seconds for which figures are used again."""
SHARE = 20
"""They are used that many times as long as their query took: a queue of millions is counted
seldom."""
PATIENCE = 5.0
"""Seconds that a scrape waits for the database."""


class Backlog:
    """The gauges of pending and failed rows."""

    def __init__(self) -> None:
        self._next = 0.0

    async def refresh(self, pool: asyncpg.Pool | None) -> None:
        """Reads the figures anew where they are old. A database that is away leaves none."""
        if time.monotonic() < self._next:
            return
        began = time.monotonic()
        self._next = began + FRESH
        rows = []
        try:
            if pool is not None:
                async with asyncio.timeout(PATIENCE):
                    rows = await pool.fetch(statement("backlog"))
            metrics.DATABASE_UP.set(pool is not None)
        except (*RETRYABLE, asyncpg.PostgresError) as error:
            log.warning("backlog_failed", extra={"error": str(error) or type(error).__name__})
            metrics.DATABASE_UP.set(0)
        for gauge in (metrics.PENDING, metrics.OLDEST, metrics.FAILED):
            gauge.clear()
        for row in rows:
            names = row["target"], row["source_column"]
            metrics.ROWS.names[row["attachment"]] = names
            metrics.PENDING.labels(*names).set(row["pending"])
            metrics.OLDEST.labels(*names).set(row["oldest"])
            metrics.FAILED.labels(*names).set(row["failed"])
        took = time.monotonic() - began
        self._next = time.monotonic() + max(FRESH, SHARE * took)
