"""Named places in the pipeline where a test can wait or break something; in production nobody
listens.

after_claim, after_load, before_model, before_write, after_write, before_reply; the middle of a
write is inside the database, where a test holds it with a trigger on the table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Signal = Callable[[str], Awaitable[None]]


async def silent(_: str) -> None:
    """What production does at a signal: nothing."""
