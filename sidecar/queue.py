"""pending -> Claim, and back: takes leases, renews them, and ends those that led to no vector.

Never holds a transaction open between two calls, and never waits for a row that the application
holds.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

import asyncpg

from sidecar import metrics
from sidecar.records import Claim, Modality, Room, Verdict
from sidecar.statements import statement

# Batches in flight of each modality: one prepared, one ready, one in the model, one being written.
DEPTH = 4

# Seconds after which claims look at the whole queue again, for rows that became due before a mark:
# leases that ran out, and changes whose transaction was long.
MARKS_LAST = 0.5
# Where some open transaction keeps drained rows in the index, a look at the whole queue can take
# seconds: those looks get a twentieth of the time, but one every half minute.
LOOK_SHARE, LONGEST_MARKS = 20, 30.0
# Seconds that such a look may take to be made after each claim that finds little.
CHEAP_LOOK = 0.02
EVERY_ATTACHMENT = 0

# Rows that are tried alone, one after the other, before others get their turn again.
SPENT_AT_ONCE = 500


class Marks:
    """Where the last claim ended in each lane of each attachment: the next goes on there."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, int], datetime] = {}
        self._look_at = 0.0
        self._look_took = 0.0

    def columns(self) -> tuple[list[int], list[int], list[datetime]]:
        """Attachments, lanes and times for the claim; none where it looks at the whole queue."""
        if time.monotonic() >= self._look_at:
            self._ends.clear()
        keys = list(self._ends)
        return [key[0] for key in keys], [key[1] for key in keys], list(self._ends.values())

    def note(
        self, claims: list[Claim], due: list[datetime], asked: int, took: float, all_lanes: bool
    ) -> None:
        """Moves the marks on; after a claim that was not filled, the next looks at the whole queue
        if that is cheap. `all_lanes`: no room was left out, so better lanes hold nothing."""
        if not self._ends:
            self._look_took = took
            pause = min(max(MARKS_LAST, LOOK_SHARE * took), LONGEST_MARKS)
            self._look_at = time.monotonic() + pause
        if 2 * len(claims) < asked and self._look_took < CHEAP_LOOK:
            self._ends.clear()
            return
        for claim, due_at in zip(claims, due, strict=True):
            self._move((claim.attachment, claim.lane), due_at)
        if claims and all_lanes:
            for lane in range(1, min(claim.lane for claim in claims)):
                self._move((EVERY_ATTACHMENT, lane), max(due))

    def _move(self, key: tuple[int, int], due_at: datetime) -> None:
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
        self.held_by: Counter[Room] = Counter()
        self.full = False
        """Whether the last claim had no room for rows of some kind."""
        self._finished = asyncio.Event()
        self._marks = Marks()
        self._spent: deque[tuple[int, str]] = deque()
        self._taken: dict[tuple[int, str, int], float] = {}
        self._unsettled: list[Verdict] = []
        # Outlives the cancelling of its caller: what it leases must be known to release_all.
        self._claiming: asyncio.Future[list[Claim]] | None = None

    async def claim(self, batch: dict[Modality, int]) -> list[Claim]:
        """At most a batch of due rows of each modality in lane order, now leased to this sidecar.

        Takes none of a modality of which DEPTH batches are held, and not less than half a batch
        at a time while it is busy; waits where that leaves nothing.
        """
        while (claiming := self._next(batch)) is None:
            self._finished.clear()
            await self._finished.wait()
        self._claiming = asyncio.ensure_future(claiming)
        return await asyncio.shield(self._claiming)

    def _next(self, batch: dict[Modality, int]) -> Coroutine[Any, Any, list[Claim]] | None:
        """The claim to make now; None while there is room for none."""
        if self._spent or self._alone():
            return None if self.held else self._claim_alone()
        room = self._room(batch)
        self.full = len(room) < len(_rooms(batch))
        return self._claim(room) if room else None

    def _alone(self) -> bool:
        """Whether the row that is held may be one that kills sidecars."""
        attempts = [claim.attempts for claim in self.held.values()] if len(self.held) == 1 else []
        return any(n > self._max_attempts for n in attempts)

    async def _claim(self, room: dict[Room, int]) -> list[Claim]:
        marks = self._marks.columns()
        began = time.monotonic()
        rows = await self._pool.fetch(
            statement("claim"),
            self._model,
            list(room),
            list(room.values()),
            self._lease,
            self._max_attempts,
            *marks,
        )
        claims = [Claim(*row[:-1]) for row in rows]
        due, took = [row["due_at"] for row in rows], time.monotonic() - began
        self._marks.note(claims, due, sum(room.values()), took, all_lanes=not self.full)
        metrics.WAITS.observe(
            (_modality(claim.room), at) for claim, at in zip(claims, due, strict=True)
        )
        claims.sort(key=lambda claim: (claim.lane, claim.attachment))
        return self._hold(claims)

    async def _claim_alone(self) -> list[Claim]:
        """One row whose attempts are spent, and nothing beside it: if it kills this sidecar too,
        no other row is charged with that."""
        while self._spent:
            place = self._spent.popleft()
            row = await self._pool.fetchrow(
                statement("claim_spent"), *place, self._lease, self._max_attempts
            )
            if row is not None:
                return self._hold([Claim(*row)])
        return []

    def _hold(self, claims: list[Claim]) -> list[Claim]:
        self.held.update((_identity(claim), claim) for claim in claims)
        self._taken.update(dict.fromkeys(map(_identity, claims), time.monotonic()))
        self.held_by.update(claim.room for claim in claims)
        return claims

    async def find_spent(self) -> None:
        """Looks for rows whose attempts were spent by sidecars that died: each is tried once more,
        alone, and given up where that happened already."""
        await self.renew()  # a lease of its own that ran out, as while the database was away
        rows = await self._pool.fetch(
            statement("spent"), self._model, self._max_attempts, SPENT_AT_ONCE
        )
        if any(row["crashed_alone"] for row in rows):
            await self._pool.execute(statement("give_up_crashed"), self._max_attempts)
        self._spent = deque(row[:2] for row in rows if not row["crashed_alone"])

    async def renew(self) -> None:
        """Lengthens the leases of claims that are held for a quarter of a lease already.

        Most are written sooner; and one that is renewed while it is written would be passed over.
        """
        old = time.monotonic() - self._lease / 4
        claims = [claim for key, claim in self.held.items() if self._taken[key] <= old]
        if claims:
            await self._pool.execute(
                statement("renew"),
                [claim.attachment for claim in claims],
                [claim.key for claim in claims],
                [claim.token for claim in claims],
                self._lease,
            )

    def _room(self, batch: dict[Modality, int]) -> dict[Room, int]:
        most = _rooms(batch)
        free = {room: DEPTH * n - self.held_by[room] for room, n in most.items()}
        return {room: min(n, most[room]) for room, n in free.items() if 2 * n >= most[room]}

    def finish(self, claims: list[Claim]) -> None:
        """Forgets claims whose vectors are written."""
        for claim in claims:
            if self.held.pop(_identity(claim), None):
                del self._taken[_identity(claim)]
                self.held_by[claim.room] -= 1
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


def _modality(room: Room) -> Modality:
    return "image" if room == "fetch" else room


def _rooms(batch: dict[Modality, int]) -> dict[Room, int]:
    """As many rows that must be fetched as images: else those of a host that hangs would take the
    place of all others."""
    rooms: dict[Room, int] = dict(batch.items())
    if "image" in batch:
        rooms["fetch"] = batch["image"]
    return rooms


def _identity(claim: Claim) -> tuple[int, str, int]:
    return claim.attachment, claim.key, claim.token
