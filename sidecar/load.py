"""Claim -> Source: reads the content of claimed rows, all rows of an attachment in one query, and
fetches what their column only names.

Never reads more than SLICE_BYTES of pictures at a time, nor a picture that is larger than allowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import asyncpg

from sidecar import metrics
from sidecar.database import REFUSED, persistently
from sidecar.errors import HostFault, RowFault
from sidecar.faults import judge
from sidecar.fetch.fetcher import Fetcher
from sidecar.fetch.memory import Hold
from sidecar.records import Attachment, Claim, Source, Verdict
from sidecar.settings import Settings

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


class Loader:
    """The stage, with the connections that fetching keeps open."""

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self._pool = pool
        self._fetcher = Fetcher(pool, settings)

    def load(
        self, attachment: Attachment, claims: list[Claim]
    ) -> aclosing[AsyncGenerator[Loaded, None]]:
        """A context manager over what `load` yields, at whose end nothing is fetched any more."""
        return aclosing(load(self._pool, attachment, claims, self._fetcher))

    async def close(self) -> None:
        """Ends what fetching keeps open."""
        await self._fetcher.close()


async def load(
    pool: asyncpg.Pool, attachment: Attachment, claims: list[Claim], fetcher: Fetcher
) -> AsyncGenerator[Loaded, None]:
    """Yields slices of the claims as sources, and verdicts on rows that are gone, too large to
    read, or cannot be fetched.

    Waits for a database that is away, and never for one table. Raises the errors in REFUSED.
    What was fetched for one slice is no longer accounted for when the next one is asked for.
    """
    async for loaded in _read_all(pool, attachment, claims, fetcher.max_bytes):
        if attachment.source == "inline":
            yield loaded
            continue
        named = [source for source in loaded.sources if source.content is not None]
        yield Loaded([s for s in loaded.sources if s.content is None], loaded.verdicts)
        async for fetched in _fetch_all(fetcher, attachment, named):
            yield fetched


async def _read_all(
    pool: asyncpg.Pool, attachment: Attachment, claims: list[Claim], max_image_bytes: int
) -> AsyncGenerator[Loaded, None]:
    if attachment.source != "inline":
        max_image_bytes = 2 * max_image_bytes  # a data: URI is longer than what it holds
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


async def _fetch_all(
    fetcher: Fetcher, attachment: Attachment, named: list[Source]
) -> AsyncGenerator[Loaded, None]:
    """Contents as they arrive, whatever the others do."""
    holds = {source.origin: fetcher.hold() for source in named}
    tasks = [
        asyncio.create_task(_fetch(fetcher, attachment, source, holds[source.origin]))
        for source in named
    ]
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when="FIRST_COMPLETED")
            ended = [task.result() for task in done]
            sources = [end for end in ended if isinstance(end, Source)]
            yield Loaded(sources, [end for end in ended if isinstance(end, Verdict)])
            for source in sources:
                holds[source.origin].free()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for hold in holds.values():
            hold.free()


async def _fetch(
    fetcher: Fetcher, attachment: Attachment, source: Source, hold: Hold
) -> Source | Verdict:
    claim = source.origin
    assert isinstance(claim, Claim)
    assert isinstance(source.content, str)
    try:
        content = await fetcher.fetch(attachment.source, source.content, hold)
        return Source(claim, attachment.modality, content)
    except (RowFault, HostFault) as fault:
        hold.free()
        if isinstance(fault, HostFault):
            return Verdict(claim, "release", delay=fault.seconds)
        return judge(claim, fault, fetcher.max_attempts)


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
