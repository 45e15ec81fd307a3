"""Bounds what fetched contents hold in memory, all together and of one host."""

from __future__ import annotations

import asyncio
from collections import Counter

SHARE = 4
"""A host's contents may hold one part in so many."""


class Hold:
    """The bytes of one content: reserved while it is read, given back when it is prepared."""

    def __init__(self, memory: Memory) -> None:
        self.owner = ""
        """The host that it is read from."""
        self.taken: Counter[str] = Counter()
        """Bytes by owner; a redirect changes the owner."""
        self.done = False
        self.waited = 0.0
        """Seconds that it stood still for others."""
        self._memory = memory

    async def grow(self, size: int) -> None:
        """Waits until `size` more bytes fit."""
        self.waited += await self._memory.take(self, size)

    def read(self) -> None:
        """It grows no more."""
        self._memory.stop_growing(self)

    def free(self) -> None:
        """Gives everything back; harmless when called again."""
        self._memory.give_back(self)


class Memory:
    """A number of bytes for many readers.

    Where it is full, readers wait for contents to be given back. Where all of it is in unfinished
    contents, the eldest reader goes on, beyond the limit if need be: so there always is one that
    comes to its end, and what is held exceeds the limit by at most one content. The same holds for
    the share of each host, so that one which stops half way, many times, leaves room for others.
    """

    def __init__(self, limit: int) -> None:
        self.used: Counter[str] = Counter()
        self._limit = limit
        self._read: Counter[str] = Counter()
        self._growing: dict[Hold, None] = {}
        self._changed = asyncio.Event()

    async def take(self, hold: Hold, size: int) -> float:
        """Adds to a hold; returns the seconds that it had to wait."""
        clock = asyncio.get_running_loop().time
        began = clock()
        self._growing[hold] = None
        while self._full(hold, size):
            self._changed.clear()
            await self._changed.wait()
        hold.taken[hold.owner] += size
        self.used[hold.owner] += size
        return clock() - began

    def stop_growing(self, hold: Hold) -> None:
        """Makes the next one the eldest."""
        self._growing.pop(hold, None)
        if not hold.done:
            hold.done = True
            self._read += hold.taken
        self._changed.set()

    def give_back(self, hold: Hold) -> None:
        """Ends a hold."""
        self.stop_growing(hold)
        self.used -= hold.taken  # which drops owners of nothing
        self._read -= hold.taken
        hold.taken.clear()

    def _full(self, hold: Hold, size: int) -> bool:
        if self.used.total() + size > self._limit and (
            self._read or next(iter(self._growing)) is not hold
        ):
            return True
        eldest = next(other for other in self._growing if other.owner == hold.owner)
        return self.used[hold.owner] + size > self._limit // SHARE and (
            self._read[hold.owner] > 0 or eldest is not hold
        )
