"""Claim -> Source: reads the content of claimed rows, all rows of an attachment in one query.

Never reads more than SLICE_BYTES of pictures at a time, nor a picture that is larger than allowed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from sidecar import metrics
from sidecar.database import REFUSED, persistently
from sidecar.records import Attachment, Claim, Source, Verdict

SLICE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """Some of the claims: sources of those that have content, verdicts on the others."""

    sources: list[Source]
    verdicts: list[Verdict]

    def claims(self) -> list[Claim]:
        """The claims that it accounts for."""
        loaded = [source.origin for source in self.sources if isinstance(source.origin, Claim)]
        return loaded + [verdict.claim for verdict in self.verdicts]


async def load(
    pool: asyncpg.Pool, attachment: Attachment, claims: list[Claim], max_image_bytes: int
) -> AsyncIterator[Loaded]:
    """Yields slices of the claims as sources, and verdicts on rows that are gone or too large to
    read.

    Waits for a database that is away, and never for one table. Raises the errors in REFUSED.
    """
    if attachment.modality == "text":
        yield await _read(pool, attachment, claims)
        return
    sizes = await _values(pool, attachment.sizes, claims)
    refused: list[Verdict] = []
    part: list[Claim] = []
    filled = 0
    for position, claim in enumerate(claims, start=1):
        size = sizes.get(position) or 0
        if size > max_image_bytes:
            refused.append(_too_large(claim, size, max_image_bytes))
            continue
        if part and filled + size > SLICE_BYTES:
            yield await _read(pool, attachment, part)
            part, filled = [], 0
        part.append(claim)
        filled += size
    if part:
        yield await _read(pool, attachment, part)
    if refused:
        yield Loaded([], refused)


async def _read(pool: asyncpg.Pool, attachment: Attachment, claims: list[Claim]) -> Loaded:
    with metrics.timed("load", attachment.modality):
        contents = await _values(pool, attachment.load, claims)
    sources: list[Source] = []
    gone: list[Verdict] = []
    for position, claim in enumerate(claims, start=1):
        if position in contents:
            sources.append(Source(claim, attachment.modality, contents[position]))
        else:
            gone.append(Verdict(claim, "drop"))
    return Loaded(sources, gone)


async def _values(pool: asyncpg.Pool, query: str, claims: list[Claim]) -> dict[int, Any]:
    """Position of a claim, from 1 -> its value."""
    keys = [claim.key for claim in claims]
    return dict(await persistently(lambda: pool.fetch(query, keys), "load", unless=REFUSED))


def _too_large(claim: Claim, size: int, limit: int) -> Verdict:
    message = (
        f"The value has {size:,} bytes, more than the {limit:,} that are allowed:"
        " store a smaller picture, or raise SIDECAR_MAX_IMAGE_BYTES."
    )
    return Verdict(claim, "give_up", error="image_too_large", message=message)
