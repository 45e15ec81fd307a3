"""How every row and question ends: written, charged with a fault, or given back; and the count of
each.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sidecar.database import persistently
from sidecar.errors import RowFault, ServiceFault
from sidecar.faults import judge
from sidecar.records import Claim, Embedded, Origin, Question, Verdict
from sidecar.tally import Tally

if TYPE_CHECKING:
    from sidecar.queue import Queue
    from sidecar.request import Requests

log = logging.getLogger("sidecar.ledger")

# Seconds until rows come again that the application holds, and rows of a table that refused.
HELD_DELAY, REFUSED_DELAY = 0.1, 10.0


class Ledger:
    """The last step of whatever does not go on to the next stage."""

    def __init__(self, queue: Queue, requests: Requests, max_attempts: int) -> None:
        self.tally = Tally()
        self._queue = queue
        self._requests = requests
        self._max_attempts = max_attempts
        self._backoff = 1.0
        self._failed = -60.0

    def written(self, results: list[tuple[Claim, Embedded]]) -> None:
        """Vectors are committed and their leases ended."""
        self._queue.finish([claim for claim, _ in results])
        self._failed = -60.0  # it works: the next fault of the service is a first one
        for claim, embedded in results:
            self.tally.embedded[claim.attachment] += 1
            self.tally.truncated[claim.attachment] += embedded.truncated

    async def settle(self, verdicts: list[Verdict]) -> None:
        """Ends leases without a vector."""
        for verdict in verdicts:
            if verdict.outcome == "give_up":
                claim = verdict.claim
                self.tally.failed[claim.attachment] += 1
                log.warning(
                    "row_failed",
                    extra={
                        "attachment": claim.attachment,
                        "key": claim.key,
                        "error": verdict.error,
                    },
                )
        await persistently(lambda: self._queue.settle(verdicts), "settle")

    async def blame(self, faults: Sequence[tuple[Origin, RowFault]]) -> None:
        """Charges rows with their own faults, and answers questions with theirs."""
        verdicts: list[Verdict] = []
        for origin, fault in faults:
            if isinstance(origin, Question):
                refuse = partial(self._requests.refuse, origin, fault.code, str(fault))
                await persistently(refuse, "refuse")
            else:
                verdicts.append(judge(origin, fault, self._max_attempts))
        await self.settle(verdicts)

    async def come_back(self, claims: list[Claim], held: bool = False) -> None:
        """Rows go back uncharged: `held` or changed by the application, or their table refused.

        What is held comes again soon, less and less often while it stays so."""
        delay = HELD_DELAY if held else REFUSED_DELAY
        await self.settle([Verdict(claim, "release", delay) for claim in claims])

    async def back_off(self, origins: list[Origin], fault: ServiceFault) -> None:
        """The service is at fault: rows go back uncharged, questions are told, and it waits."""
        now = time.monotonic()
        self._backoff = min(2 * self._backoff, 30.0) if now < self._failed + 60 else 1.0
        self._failed = now
        log.error("service_fault", extra={"error": str(fault), "retry_in_s": self._backoff})
        await self.settle(
            [Verdict(o, "release", self._backoff) for o in origins if isinstance(o, Claim)]
        )
        for question in [origin for origin in origins if isinstance(origin, Question)]:
            await persistently(
                partial(self._requests.refuse, question, "unavailable", str(fault)), "refuse"
            )
        await asyncio.sleep(self._backoff)
