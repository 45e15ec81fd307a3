"""What becomes of work that failed: the row at fault is found by halving, and gets a backoff or
becomes a failure.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sidecar.errors import RowFault, ServiceFault
from sidecar.records import Claim, Verdict

FIRST_BACKOFF = 2.0
LONGEST_BACKOFF = 600.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def judge(claim: Claim, fault: RowFault, max_attempts: int) -> Verdict:
    """A failure where trying again cannot help or was tried enough; else a backoff.

    The backoff doubles from 2 s to at most 10 minutes, and up to a quarter is added at random, so
    that rows which failed together do not come back together.
    """
    if fault.permanent or claim.attempts >= max_attempts:
        return Verdict(claim, "give_up", error=fault.code, message=str(fault))
    delay = min(FIRST_BACKOFF * 2 ** (claim.attempts - 1), LONGEST_BACKOFF)
    return Verdict(claim, "postpone", delay=delay * random.uniform(1.0, 1.25))


async def halved(
    call: Callable[[list[Item]], Awaitable[Result]],
    items: list[Item],
    code: str,
    passes: tuple[type[Exception], ...],
) -> list[tuple[list[Item], Result | RowFault]]:
    """Results of `call` for parts of `items` that cover them; a part that fails is halved until it
    is one item.

    One item that fails gets a RowFault with `code`. ServiceFault and the errors in `passes` are
    raised at once.
    """
    try:
        return [(items, await call(items))]
    except Exception as error:
        if isinstance(error, (ServiceFault, *passes)):
            raise
        if len(items) == 1:
            reason = " ".join(str(error).split()) or type(error).__name__
            fault = error if isinstance(error, RowFault) else None
            return [(items, fault or RowFault(code, reason, permanent=False))]
    middle = len(items) // 2
    first = await halved(call, items[:middle], code, passes)
    return first + await halved(call, items[middle:], code, passes)
