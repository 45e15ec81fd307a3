"""Prepared -> batches of one modality: questions first, then rows in the order of their lanes.

An idle model never waits for a batch to fill: it gets what is there. What arrives while it works
shares the next batch.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress

from sidecar.records import Call, Claim, Modality, Prepared

LANES = 4
# Seconds that one batch may keep the model from a question, as far as the last batch can tell.
LONGEST_BATCH = 0.5
# After the device refused a batch, half of it is the most; twice as much after each of these, s.
REFUSAL_LASTS = 60.0


class Batcher:
    """What is prepared and waits for the model, by modality and lane."""

    def __init__(self, limits: dict[Modality, int], window: float = 0.0) -> None:
        """`window`: seconds for which rows are kept back for the question after a question."""
        self.limits = limits
        self._window = window
        self._asked = False
        self._keep_until = self._served_rows = -LONGEST_BATCH
        self._waiting: dict[Modality, list[deque[Prepared]]] = {
            modality: [deque() for _ in range(LANES)] for modality in limits
        }
        self._arrived = asyncio.Event()
        self._sizes = dict.fromkeys(limits, 1)
        self._refused: dict[Modality, tuple[int, float]] = {}
        self.closed = False
        self._last: Modality = "image"

    def put(self, prepared: list[Prepared]) -> None:
        """Adds model inputs; never blocks, for what is in the pipeline is bounded by the claims."""
        for item in prepared:
            lane = item.origin.lane if isinstance(item.origin, Claim) else 0
            self._waiting[item.modality][lane].append(item)
        if prepared and not self.closed:
            self._arrived.set()

    def close(self) -> None:
        """Throws away what waits and ends `next`: the sidecar stops."""
        for lanes in self._waiting.values():
            for waiting in lanes:
                waiting.clear()
        self.closed = True
        self._arrived.set()

    def learn(self, batch: list[Prepared], seconds: float) -> None:
        """How long the model took: later batches are as large as LONGEST_BATCH allows.

        On a slow device a question would else wait for minutes behind a full batch of pictures.
        """
        modality = batch[0].modality
        fits = max(1, int(LONGEST_BATCH * _views(batch) / max(seconds, 1e-6)))
        # A first batch can be slow for reasons of its own, so the size may grow back, by doubling.
        most = min(self.limits[modality], self._ceiling(modality))
        self._sizes[modality] = min(most, fits, 2 * self._sizes[modality])

    def shrink(self, batch: list[Prepared]) -> None:
        """The device could not do this batch, perhaps for its size: the next ones are smaller."""
        modality = batch[0].modality
        self._refused[modality] = (max(1, _views(batch) // 2), time.monotonic())
        self._sizes[modality] = min(self._sizes[modality], self._ceiling(modality))

    def _ceiling(self, modality: Modality) -> int:
        if modality not in self._refused:
            return self.limits[modality]
        half, since = self._refused[modality]
        doublings = int((time.monotonic() - since) / REFUSAL_LASTS)
        return half << min(doublings, 32)

    async def next(self) -> list[Prepared]:
        """The next batch, as soon as anything waits; empty only after close.

        Rows that wait alone are kept back for a moment after a question was served.
        """
        self._note_served()
        while not self.closed:
            modality = self._best()
            pause = None if modality is None else self._pause()
            if modality is not None and not pause:
                self._last = modality
                if batch := self._take(modality):
                    self._asked = not isinstance(batch[0].origin, Claim)
                    return batch
                continue
            self._arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), pause)
        return []

    def _note_served(self) -> None:
        """The last batch is done: clients that follow one question with the next come now."""
        if self._asked:
            self._keep_until = time.monotonic() + self._window
        else:
            self._served_rows = time.monotonic()

    def _pause(self) -> float:
        """For how long rows are kept back, s. Else every question after the first would wait behind
        a batch of rows. Questions that never end get LONGEST_BATCH, then rows one batch."""
        if any(lanes[0] for lanes in self._waiting.values()):
            return 0.0
        until = min(self._keep_until, self._served_rows + LONGEST_BATCH)
        return max(0.0, until - time.monotonic())

    def _best(self) -> Modality | None:
        """The modality of the best lane; where both have rows in it, they take turns."""
        candidates = [
            (lane, modality == self._last, modality)
            for modality, lanes in self._waiting.items()
            for lane in range(LANES)
            if lanes[lane]
        ]
        return min(candidates)[2] if candidates else None

    def _take(self, modality: Modality) -> list[Prepared]:
        batch: list[Prepared] = []
        room = self._sizes[modality]
        for waiting in self._waiting[modality]:
            while waiting and (not batch or len(waiting[0].views) <= room):
                item = waiting.popleft()
                if isinstance(item.origin, Call) and item.origin.answer.done():
                    continue  # whoever asked has gone
                batch.append(item)
                room -= len(item.views)
        return batch


def _views(batch: list[Prepared]) -> int:
    return sum(len(prepared.views) for prepared in batch)
