"""What happened to attached tables behind the sidecar's back: columns and tables that were dropped
or altered, and triggers that came later.

Never waits for the application longer than LOCK_TIMEOUT: what does not get its lock is tried again.
"""

from __future__ import annotations

import logging

import asyncpg

from sidecar.statements import statement

log = logging.getLogger("sidecar.upkeep")

LOCK_TIMEOUT = "20ms"
"""How long others may queue behind a lock that this asks for."""


class Upkeep:
    """Looks after all attachments, whatever their model; says each finding once."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._told: dict[int, str] = {}

    async def look(self) -> None:
        """Forgets attachments whose table or column is gone, renews outdated triggers where the
        sidecar owns the table, and logs what only a person can mend."""
        try:
            await self._look()
        except asyncpg.PostgresError as error:  # a table that is dropped while it is looked at
            log.warning("upkeep_failed", extra={"error": str(error)})

    async def _look(self) -> None:
        found = await self._pool.fetch(statement("upkeep"))
        self._told = {row["id"]: row["finding"] for row in found if self._tell(row)}
        for row in found:
            if row["forget"]:
                await self._try("select sidecar.forget_lost($1)", "forgotten", row)
            elif row["install"]:
                await self._try("select sidecar.install_triggers($1)", "triggers_renewed", row)
        await self._pool.execute(statement("forget_orphans"))

    def _tell(self, row: asyncpg.Record) -> bool:
        if row["finding"] is None:
            return False
        if self._told.get(row["id"]) != row["finding"]:
            details = {"finding": row["finding"], "mend": row["mend"]}
            log.warning("attachment_refused", extra={"attachment": row["id"], **details})
        return True

    async def _try(self, call: str, event: str, row: asyncpg.Record) -> None:
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
                await connection.execute(call, row["id"])
        except asyncpg.PostgresError as error:
            log.info("upkeep_later", extra={"attachment": row["id"], "error": str(error)})
        else:
            log.info(event, extra={"attachment": row["id"]})
