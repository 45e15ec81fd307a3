"""Named places in the pipeline where a test can wait or break something; in production nobody
listens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Signal = Callable[[str], Awaitable[None]]


async def silent(_: str) -> None:
    """What production does at a signal: nothing."""
