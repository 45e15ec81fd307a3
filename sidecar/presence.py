"""How this sidecar is, for whoever asks it outside SQL: loading, ready, away from its database, or
stopping.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import asyncpg

from sidecar import metrics
from sidecar.calls import Calls
from sidecar.encoder import Encoder
from sidecar.errors import ServiceFault

DEAD = 10.0
"""Age of the last heartbeat, s, from which on the database counts this sidecar as dead too."""


class Presence:
    """Filled by the service as it comes up; nothing is there before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.model: Encoder | None = None
        """Loaded, both towers warm."""
        self.pool: asyncpg.Pool | None = None
        self.calls: Calls | None = None
        self.stopping = False
        self._clock = clock
        self._beaten: float | None = None

    def beat(self) -> None:
        """The database has this sidecar's heartbeat."""
        self._beaten = self._clock()
        metrics.HEARTBEAT.set_to_current_time()

    @property
    def heartbeat_age(self) -> float | None:
        """Seconds since the database had a heartbeat; None: it never had one."""
        return None if self._beaten is None else self._clock() - self._beaten

    def reasons(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        reasons = ["it stops"] if self.stopping else []
        if self.model is None:
            reasons.append("the model is being loaded and warmed up")
        age = self.heartbeat_age
        if age is None:
            reasons.append("the database was not reached yet")
        elif age >= DEAD:
            reasons.append(f"the database has had no heartbeat for {age:.0f} s")
        return reasons

    def expect_calls(self) -> tuple[Encoder, Calls]:
        """The model, and where to ask it. Raises ServiceFault before there are any."""
        if self.model is None or self.calls is None:
            raise ServiceFault(f"The sidecar is not ready: {', '.join(self.reasons())}.")
        return self.model, self.calls
