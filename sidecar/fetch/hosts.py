"""How many requests a host gets at once, and when it wants no more for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sidecar.errors import HostFault

PATIENCE = 2.0
"""Seconds that a row waits for its turn at a host; then it goes back to the queue, uncharged, and
makes room for rows of other hosts."""
AGAIN = 2.0
"""Seconds after which such a row comes again, at the earliest."""
LONGEST_REST = 3600.0
"""Most seconds that a host may ask for."""
REMEMBERED = 10_000
"""Hosts that are known to rest; more push the first ones out."""


@dataclass(slots=True)
class _Host:
    free: asyncio.Semaphore
    users: int = 0


class Hosts:
    """Turns at each host. A host that hangs keeps `at_once` rows, and no others, waiting long."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._hosts: dict[str, _Host] = {}
        self._resting: dict[str, float] = {}

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """One request's turn. Raises HostFault where the host rests or has too many before it."""
        self._check_rest(host)
        known = self._hosts.setdefault(host, _Host(asyncio.Semaphore(self._at_once)))
        known.users += 1
        try:
            try:
                async with asyncio.timeout(PATIENCE):
                    await known.free.acquire()
            except TimeoutError:
                raise HostFault(f"{host} has {self._at_once} requests already.", AGAIN) from None
            try:
                self._check_rest(host)
                yield
            finally:
                known.free.release()
        finally:
            known.users -= 1
            if not known.users:
                del self._hosts[host]

    def rest(self, host: str, seconds: float) -> float:
        """No request to this host for so long; returns how long that is at most."""
        seconds = min(max(seconds, 1.0), LONGEST_REST)
        if len(self._resting) >= REMEMBERED:
            del self._resting[next(iter(self._resting))]
        self._resting[host] = time.monotonic() + seconds
        return seconds

    def _check_rest(self, host: str) -> None:
        left = self._resting.get(host, 0.0) - time.monotonic()
        if left > 0:
            raise HostFault(f"{host} asked for a pause.", left)
        self._resting.pop(host, None)
