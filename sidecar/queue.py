"""pending -> Claim, and back: takes leases, renews them, and ends those that led to no vector.

Never holds a transaction open between two calls, and never waits for a row that the application
holds.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import datetime

import asyncpg

from sidecar import metrics
from sidecar.records import Claim, Modality, Verdict
from sidecar.statements import statement

# Batches in flight of each modality: one prepared, one ready, one in the model, one being written.
DEPTH = 4

# Seconds after which claims look at the whole queue again, for rows that became due before a mark:
# leases that ran out, and changes whose transaction was long.
MARKS_LAST = 0.5


class Marks:
    """Where the last claim ended in each lane of each attachment: the next goes on there."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, int], datetime] = {}
        self._began = time.monotonic()

    def columns(self) -> tuple[list[int], list[int], list[datetime]]:
        """Attachments, lanes and times for the claim; none once the marks are old."""
        if time.monotonic() > self._began + MARKS_LAST:
            self._ends.clear()
            self._began = time.monotonic()
        keys = list(self._ends)
        return [key[0] for key in keys], [key[1] for key in keys], list(self._ends.values())

    def note(self, claims: list[Claim], due: list[datetime], asked: int) -> None:
        """Moves the marks on; a claim that was not filled looks at the whole queue next time."""
        if 2 * len(claims) < asked:
            self._ends.clear()
            return
        for claim, due_at in zip(claims, due, strict=True):
            key = claim.attachment, claim.lane
            if key not in self._ends or self._ends[key] < due_at:
                self._ends[key] = due_at


class Queue:
    """The leases of one sidecar. `held` are all claims that are somewhere in the pipeline."""

    def __init__(self, pool: asyncpg.Pool, model: str, lease: float, max_attempts: int) -> None:
        self._pool = pool
        self._model = model
        self._lease = lease
        self._max_attempts = max_attempts
        self.held: dict[tuple[int, str, int], Claim] = {}
        self.held_by: Counter[Modality] = Counter()
        self.full = False
        """Whether the last claim had no room for some modality."""
        self._finished = asyncio.Event()
        self._marks = Marks()
        self._unsettled: list[Verdict] = []
        # Outlives the cancelling of its caller: what it leases must be known to release_all.
        self._claiming: asyncio.Future[list[Claim]] | None = None

    async def claim(self, batch: dict[Modality, int]) -> list[Claim]:
        """At most a batch of due rows of each modality in lane order, now leased to this sidecar.

        Takes none of a modality of which DEPTH batches are held, and not less than half a batch
        at a time while it is busy; waits where that leaves nothing.
        """
        while not (room := self._room(batch)):
            self._finished.clear()
            await self._finished.wait()
        self.full = len(room) < len(batch)
        self._claiming = asyncio.ensure_future(self._claim(room))
        return await asyncio.shield(self._claiming)

    async def _claim(self, room: dict[Modality, int]) -> list[Claim]:
        rows = await self._pool.fetch(
            statement("claim"),
            self._model,
            list(room),
            list(room.values()),
            self._lease,
            self._max_attempts,
            *self._marks.columns(),
        )
        claims = [Claim(*row[:-1]) for row in rows]
        self._marks.note(claims, [row["due_at"] for row in rows], sum(room.values()))
        metrics.WAITS.observe((row["modality"], row["due_at"]) for row in rows)
        claims.sort(key=lambda claim: (claim.lane, claim.attachment))
        self.held.update((_identity(claim), claim) for claim in claims)
        self.held_by.update(claim.modality for claim in claims)
        return claims

    async def renew(self) -> None:
        """Lengthens the leases of all held claims."""
        claims = list(self.held.values())
        if claims:
            await self._pool.execute(
                statement("renew"),
                [claim.attachment for claim in claims],
                [claim.key for claim in claims],
                [claim.token for claim in claims],
                self._lease,
            )

    def _room(self, batch: dict[Modality, int]) -> dict[Modality, int]:
        free = {modality: DEPTH * n - self.held_by[modality] for modality, n in batch.items()}
        return {m: min(n, batch[m]) for m, n in free.items() if 2 * n >= batch[m]}

    def finish(self, claims: list[Claim]) -> None:
        """Forgets claims whose vectors are written."""
        for claim in claims:
            if self.held.pop(_identity(claim), None):
                self.held_by[claim.modality] -= 1
        self._finished.set()

    async def settle(self, verdicts: list[Verdict]) -> None:
        """Ends leases without a vector; what the application holds right now is kept for
        settle_rest."""
        if not verdicts:
            return
        rows = await self._pool.fetch(
            statement("settle"),
            [verdict.claim.attachment for verdict in verdicts],
            [verdict.claim.key for verdict in verdicts],
            [verdict.claim.token for verdict in verdicts],
            [verdict.claim.generation for verdict in verdicts],
            [verdict.outcome for verdict in verdicts],
            [verdict.delay for verdict in verdicts],
            [verdict.error for verdict in verdicts],
            [verdict.message for verdict in verdicts],
        )
        self.finish([verdict.claim for verdict in verdicts])
        self._unsettled.extend(verdicts[row["position"] - 1] for row in rows if not row["lost"])
        metrics.LEASES_LOST.inc(sum(row["lost"] for row in rows))

    async def settle_rest(self) -> None:
        """Tries again what settle had to pass over."""
        rest, self._unsettled = self._unsettled, []
        try:
            await self.settle(rest)
        except BaseException:
            self._unsettled.extend(rest)
            raise

    async def release_all(self) -> None:
        """Gives every lease back, uncharged: the last act of a sidecar."""
        if self._claiming is not None:
            await asyncio.wait([self._claiming])
        await self.settle([Verdict(claim, "release") for claim in self.held.values()])


def _identity(claim: Claim) -> tuple[int, str, int]:
    return claim.attachment, claim.key, claim.token
