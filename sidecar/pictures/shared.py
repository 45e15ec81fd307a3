"""Memory that a sidecar and one of its decoders both see; it only grows, and can be emptied."""

from __future__ import annotations

import mmap
import os


class Writer:
    """Writes one piece after the other, without a copy of the whole in between."""

    def __init__(self, place: mmap.mmap) -> None:
        self.written = 0
        self._place = place

    def write(self, piece: bytes) -> int:
        """Appends a piece."""
        self._place[self.written : self.written + len(piece)] = piece
        self.written += len(piece)
        return len(piece)

    def flush(self) -> None:
        """Nothing waits to be written."""


class Shared:
    """A file in memory, of which both sides hold the descriptor. One side writes at a time."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    def write(self, content: bytes) -> None:
        """Puts bytes at its start."""
        if os.fstat(self.descriptor).st_size < len(content):
            os.ftruncate(self.descriptor, len(content))
        if content:
            self._mapped(len(content))[: len(content)] = content

    def writer(self, size: int) -> Writer:
        """A file object over it, for at most `size` bytes."""
        if os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, size)
        return Writer(self._mapped(size))

    def view(self, size: int) -> memoryview:
        """The first bytes, where they are; to be released before the next call."""
        return memoryview(self._mapped(size))[:size] if size else memoryview(b"")

    def empty(self) -> None:
        """Gives the pages back to the system; the other side sees zeros."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_REMOVE)

    def close(self) -> None:
        """Forgets it on this side."""
        if self._map is not None:
            self._map.close()
        os.close(self.descriptor)

    def _mapped(self, size: int) -> mmap.mmap:
        if self._map is None or len(self._map) < size:
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return self._map
