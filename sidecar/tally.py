"""What was done since the last heartbeat, by attachment: rows embedded, failed, and texts
truncated.
"""

from __future__ import annotations

import time
from collections import Counter

import asyncpg

from sidecar.statements import statement


class Tally:
    """Counts in memory; `store` adds them to sidecar.progress."""

    def __init__(self) -> None:
        self.embedded: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self.truncated: Counter[int] = Counter()
        self._since = time.monotonic()

    async def store(self, pool: asyncpg.Pool) -> float:
        """Writes the counts and starts again from zero; returns embedded rows per second since the
        last call."""
        embedded, failed, truncated = self.embedded, self.failed, self.truncated
        self.embedded, self.failed, self.truncated = Counter(), Counter(), Counter()
        now = time.monotonic()
        rate = embedded.total() / max(now - self._since, 1e-3)
        self._since = now
        attachments = list({*embedded, *failed, *truncated})
        if attachments:
            await pool.execute(
                statement("progress"),
                attachments,
                [embedded[attachment] for attachment in attachments],
                [failed[attachment] for attachment in attachments],
                [truncated[attachment] for attachment in attachments],
            )
        return rate
