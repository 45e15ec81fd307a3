"""How many rows of a table one transaction looks at, so that it neither waits long nor keeps others
waiting.

A transaction that queues rows keeps writers of the same rows waiting until it commits; and it waits
itself where a writer has queued one and not committed. So slices are small, give up after an
instant, and shrink down to the one row that is in the way.
"""

from __future__ import annotations

MOST = 1_000
LOCK_TIMEOUT = "set local lock_timeout = '20ms'"
"""Less than deadlock_timeout, so that the application never is the victim of a deadlock."""


class Slices:
    """The size of the next slice of each attachment."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}

    def size(self, attachment: int) -> int:
        """Rows, at most MOST."""
        return self._sizes.get(attachment, MOST)

    def met_lock(self, attachment: int) -> bool:
        """A slice gave up: the next is smaller. False where it was one row already."""
        size = self.size(attachment)
        self._sizes[attachment] = max(size // 4, 1)
        return size > 1

    def went_well(self, attachment: int) -> None:
        """A slice was done: the next is larger again."""
        self._sizes[attachment] = min(2 * self.size(attachment), MOST)
