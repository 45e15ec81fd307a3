"""What is asked inside this process, such as over HTTP: contents in, vectors out.

Takes the way of the questions from SQL from prepare on, and touches no database. What waits is
bounded: more is sent away with the time after which to come again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from sidecar import metrics
from sidecar.errors import Busy, RowFault, ServiceFault
from sidecar.ledger import refuse_call
from sidecar.records import Call, Embedded, Modality, Source

LONGEST_PAUSE = 60
"""Most seconds that somebody is asked to stay away."""


class PositionedFault(RowFault):
    """A fault of one of several contents; `position` counts from 0."""

    def __init__(self, fault: RowFault, position: int) -> None:
        super().__init__(fault.code, str(fault), permanent=fault.permanent)
        self.position = position


class Calls:
    """The calls that wait for their vectors, at most `most` of them."""

    def __init__(self, begin: Callable[[list[Source]], object], most: int) -> None:
        self._begin = begin
        self._most = most
        self._open: dict[Call, float] = {}
        self._closed: str | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def ask(self, modality: Modality, contents: Sequence[str | bytes]) -> list[Embedded]:
        """The vectors, in order. Who is cancelled while waiting leaves no work behind.

        Raises RowFault for the first content that has none (PositionedFault where there are
        several), Busy, and ServiceFault.
        """
        if self._closed is not None:
            raise ServiceFault(self._closed)
        if len(self._open) + len(contents) > self._most:
            raise Busy(
                f"{len(self._open)} texts and pictures wait already, and at most {self._most} may:"
                " ask again later, or raise SIDECAR_HTTP_QUEUE.",
                self._pause(),
            )
        if not contents:
            return []
        loop, now = asyncio.get_running_loop(), time.monotonic()
        calls = [Call(loop.create_future()) for _ in contents]
        self._open.update(dict.fromkeys(calls, now))
        metrics.WAITING.set(len(self._open))
        self._begin(
            [Source(call, modality, content) for call, content in zip(calls, contents, strict=True)]
        )
        try:
            await asyncio.wait([call.answer for call in calls], return_when="FIRST_EXCEPTION")
            for position, call in enumerate(calls):
                fault = call.answer.exception() if call.answer.done() else None
                if isinstance(fault, RowFault) and len(calls) > 1:
                    raise PositionedFault(fault, position)
                if fault is not None:
                    raise fault
            return [call.answer.result() for call in calls]
        finally:
            for call in calls:
                del self._open[call]
                if not call.answer.cancel() and not call.answer.cancelled():
                    call.answer.exception()  # else asyncio complains that nobody looked
            metrics.WAITING.set(len(self._open))

    def close(self, message: str) -> None:
        """The service stops: who comes from now on is told so."""
        self._closed = message

    def refuse_all(self, message: str) -> None:
        """Who still waits is told as well."""
        self.close(message)
        for call in self._open:
            refuse_call(call, ServiceFault(message))

    def _pause(self) -> int:
        """As long as the oldest call waits already, in whole seconds: so long takes a queue."""
        oldest = next(iter(self._open.values()), time.monotonic())
        return min(max(1, math.ceil(time.monotonic() - oldest)), LONGEST_PAUSE)
