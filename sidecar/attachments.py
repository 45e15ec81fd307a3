"""The attachments that this sidecar serves, with the statements that the database wrote for their
tables.
"""

from __future__ import annotations

import logging

import asyncpg

from sidecar.database import CHANGED
from sidecar.records import Attachment
from sidecar.statements import statement

log = logging.getLogger("sidecar.attachments")


class Attachments:
    """A copy of sidecar.attachment for one model; forgotten when a statement no longer fits its
    table."""

    def __init__(self, pool: asyncpg.Pool, model: str) -> None:
        self._pool = pool
        self._model = model
        self._known: dict[int, Attachment] = {}

    async def refresh(self) -> list[Attachment]:
        """Reads all of them again; attachments made before any sidecar ran get this one's model
        first."""
        await self._pool.execute(statement("note_columns"))
        await self._pool.execute(statement("adopt"), self._model)
        rows = await self._pool.fetch(statement("attachments"), self._model)
        self._known = {row["id"]: Attachment(**row) for row in rows}
        return list(self._known.values())

    async def get(self, attachment: int) -> Attachment | None:
        """One attachment; None where it is detached or its table or columns are gone."""
        if attachment not in self._known:
            await self.refresh()
        return self._known.get(attachment)

    def refused(self, attachment: int, what: str, error: Exception) -> bool:
        """A statement failed: has the statements read again before the next use.

        Returns whether that may help at once: something was renamed."""
        self._known.pop(attachment, None)
        details = {"attachment": attachment, "what": what, "error": str(error)}
        log.warning("table_refused", extra=details)
        return isinstance(error, CHANGED)
