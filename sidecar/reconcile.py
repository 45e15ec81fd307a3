"""What no trigger saw -> sidecar.pending: goes over each attached table in slices by key.

Holds no transaction longer than a slice, waits for no lock of the application's, and takes a tenth
of the time at most. Where it has come to is in sidecar.sweep, so that it goes on after a restart.
"""

from __future__ import annotations

import asyncio
import logging
import time

import asyncpg

from sidecar.database import RETRYABLE
from sidecar.slices import LOCK_TIMEOUT, Slices
from sidecar.statements import statement

log = logging.getLogger("sidecar.reconcile")

# No slice is read while so many rows wait in the lane that it fills.
LOW_WATER = 5_000
# Of each second, 0.9 are for others.
REST = 9.0
# Seconds until a table is tried again that cannot be read as it is now.
REFUSED_DELAY = 60.0


class Reconciler:
    """Looks for missed rows in the tables of one model; passes over a table are `interval` seconds
    apart."""

    def __init__(self, pool: asyncpg.Pool, model: str, interval: float) -> None:
        self._pool = pool
        self._model = model
        self._interval = interval
        self._slices = Slices()

    async def turn(self) -> None:
        """Begins the passes that are due and does their slices; returns when none is to be done
        now."""
        while True:
            began = time.monotonic()
            due = await self._pool.fetch(statement("sweep_begin"), self._model, self._interval)
            for table in due:
                if table["changed"]:
                    log.info(
                        "triggers_changed",
                        extra={
                            "table": table["target"],
                            "mend": "rows without a vector are looked for; where contents were"
                            " changed while triggers were off: select sidecar.reembed(...)",
                        },
                    )
            went_on = [await self._step(table["id"], table["target"]) for table in due]
            if not any(went_on):
                return
            await asyncio.sleep(REST * (time.monotonic() - began))

    async def _step(self, attachment: int, table: str) -> bool:
        """One slice; whether it was done. What one table refuses holds no other up."""
        try:
            done = await self._slice(attachment, table, self._slices.size(attachment))
        except asyncpg.LockNotAvailableError:
            return self._slices.met_lock(attachment)
        except RETRYABLE:
            raise
        except asyncpg.PostgresError as error:
            log.warning("sweep_refused", extra={"table": table, "error": str(error)})
            await self._pool.execute(statement("sweep_postpone"), attachment, REFUSED_DELAY)
            return False
        self._slices.went_well(attachment)
        return done

    async def _slice(self, attachment: int, table: str, size: int) -> bool:
        began = time.monotonic()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK_TIMEOUT)
            place = await connection.fetchrow(statement("sweep_room"), attachment, LOW_WATER)
            if place is None:
                return False
            seen = await connection.fetchrow(place[place["phase"]], place["after"], size)
            last = seen["last_key"] if seen["seen"] == size else None
            rest = REST * (time.monotonic() - began)
            note = statement("sweep_note")
            now = await connection.fetchrow(
                note, attachment, last, seen["found"], rest, self._interval
            )
        if now["phase"] == "idle" and now["found"]:
            log.warning("sweep_found", extra={"table": table, "rows": now["found"]})
        return True
