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

from sidecar import metrics
from sidecar.database import persistently
from sidecar.errors import RowFault, ServiceFault
from sidecar.faults import judge
from sidecar.records import Call, Claim, Embedded, Origin, Question, Verdict
from sidecar.tally import Tally

if TYPE_CHECKING:
    from sidecar.queue import Queue
    from sidecar.request import Requests

log = logging.getLogger("sidecar.ledger")

OUTCOMES = {"postpone": "retried", "give_up": "failed", "drop": "dropped"}
"""Verdict -> what the figures call it."""

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
        metrics.count_rows((claim.attachment for claim, _ in results), "embedded")
        for claim, embedded in results:
            self.tally.embedded[claim.attachment] += 1
            self.tally.truncated[claim.attachment] += embedded.truncated

    async def answer(self, results: list[Embedded]) -> None:
        """Vectors of calls go to who waits for them, those of questions to the database."""
        for result in results:
            if isinstance(result.origin, Call) and not result.origin.answer.done():
                result.origin.answer.set_result(result)
        if questions := [result for result in results if isinstance(result.origin, Question)]:
            await persistently(partial(self._requests.answer, questions), "answer")

    async def settle(self, verdicts: list[Verdict], returned: str = "returned") -> None:
        """Ends leases without a vector; `returned` is what the figures call those released."""
        for verdict in verdicts:
            outcome = returned if verdict.outcome == "release" else OUTCOMES[verdict.outcome]
            metrics.count_rows([verdict.claim.attachment], outcome)
            if verdict.outcome == "give_up":
                claim = verdict.claim
                self.tally.failed[claim.attachment] += 1
                metrics.ROW_FAILURES.labels(verdict.error).inc()
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
            if isinstance(origin, Call):
                refuse_call(origin, fault)
            elif isinstance(origin, Question):
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
        metrics.SERVICE_FAULTS.inc()
        log.error("service_fault", extra={"error": str(fault), "retry_in_s": self._backoff})
        await self.settle(
            [Verdict(o, "release", self._backoff) for o in origins if isinstance(o, Claim)],
            returned="service_fault",
        )
        for call in [origin for origin in origins if isinstance(origin, Call)]:
            refuse_call(call, fault)
        for question in [origin for origin in origins if isinstance(origin, Question)]:
            await persistently(
                partial(self._requests.refuse, question, "unavailable", str(fault)), "refuse"
            )
        await asyncio.sleep(self._backoff)


def refuse_call(call: Call, fault: Exception) -> None:
    """Who waits for it gets the fault; harmless where nobody does any more."""
    if not call.answer.done():
        call.answer.set_exception(fault)
