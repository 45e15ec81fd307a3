"""Embedded -> database: one statement, so one transaction, per attachment and batch.

Writes a vector only where the queue row still is the one that was claimed; says which rows that
was.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import asyncpg

from sidecar import metrics
from sidecar.database import REFUSED, binary_of, persistently
from sidecar.errors import RowFault
from sidecar.faults import halved
from sidecar.records import Attachment, Claim, Embedded

Result = tuple[Claim, Embedded]


def by_attachment(embedded: list[Embedded]) -> Iterator[list[Result]]:
    """The results of rows, those of one table together; without those of questions."""
    rows = [(result.origin, result) for result in embedded if isinstance(result.origin, Claim)]
    rows.sort(key=lambda row: row[0].attachment)
    for _, group in groupby(rows, lambda row: row[0].attachment):
        yield list(group)


async def write(
    pool: asyncpg.Pool, attachment: Attachment, results: list[Result]
) -> tuple[list[Result], list[Claim], list[tuple[Claim, RowFault]]]:
    """Results that are committed; claims whose rows changed, are locked or gone; rows that refuse
    their vector.

    Waits for a database that is away, and never for one table. Raises the errors in REFUSED.
    """

    async def commit(part: list[Result]) -> set[int]:
        return await persistently(lambda: _write(pool, attachment, part), "write", unless=REFUSED)

    done: list[Result] = []
    left: list[Claim] = []
    faults: list[tuple[Claim, RowFault]] = []
    for part, outcome in await halved(commit, results, "write_refused", REFUSED):
        if isinstance(outcome, RowFault):
            faults.append((part[0][0], outcome))
            continue
        for position, result in enumerate(part, start=1):
            if position in outcome:
                done.append(result)
            else:
                left.append(result[0])
    return done, left, faults


async def _write(pool: asyncpg.Pool, attachment: Attachment, results: list[Result]) -> set[int]:
    with metrics.timed("write", attachment.modality):
        rows = await pool.fetch(
            attachment.write,
            [claim.key for claim, _ in results],
            [claim.token for claim, _ in results],
            [claim.generation for claim, _ in results],
            [
                None if embedded.vector is None else binary_of(embedded.vector)
                for _, embedded in results
            ],
        )
    return {row[0] for row in rows}
