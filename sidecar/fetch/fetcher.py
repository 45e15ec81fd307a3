"""Reference -> content: what a row's column names, read from where it is.

Bounded by host, time and bytes; a place that hangs holds up only rows that name it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import asyncpg

from sidecar.errors import HostFault, RowFault
from sidecar.fetch.files import read_file
from sidecar.fetch.hosts import Hosts
from sidecar.fetch.http import Http
from sidecar.fetch.large_objects import read_large_object
from sidecar.fetch.memory import Hold, Memory
from sidecar.fetch.objects import Objects
from sidecar.fetch.urls import data_of, scheme_of
from sidecar.settings import Settings

LARGE_OBJECTS = 2
"""Large objects that are read at once: the sidecar has few connections."""
READERS = 8
"""Files that are read at once, on threads of their own: a network drive may hang."""


class Fetcher:
    """All sources but the column itself, for one event loop."""

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self.max_bytes = settings.max_image_bytes
        self.max_attempts = settings.max_attempts
        hosts = Hosts(settings.fetches_per_host)
        self._pool = pool
        self._roots = settings.file_roots or ()
        self._memory = Memory(settings.fetch_bytes)
        self._seconds = settings.fetch_seconds
        allowed, headers = settings.url_allow or frozenset(), settings.url_headers or {}
        self._http = Http(hosts, allowed, headers, self._seconds)
        self._objects = Objects(hosts, self._seconds)
        self._large = asyncio.Semaphore(LARGE_OBJECTS)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="file")

    def hold(self) -> Hold:
        """What accounts for one content until it is prepared."""
        return Hold(self._memory)

    async def fetch(self, source: str, reference: str, hold: Hold) -> bytes:
        """The content that a column of this source refers to.

        Raises RowFault, and HostFault where it cannot be had right now.
        """
        match source:
            case "large_object":
                async with self._large:
                    oid = int(reference)
                    return await read_large_object(self._pool, oid, hold, self.max_bytes)
            case "file":
                return await self._file(reference, hold)
            case "url":
                return await self._url(reference.strip(), hold)
        raise ValueError(f"{source} is no source that is fetched")

    async def close(self) -> None:
        """Ends connections and threads."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        await self._http.close()
        await self._objects.close()

    async def _url(self, url: str, hold: Hold) -> bytes:
        try:
            match scheme_of(url):
                case "data":
                    return data_of(url)
                case "http" | "https":
                    return await self._http.get(url, hold, self.max_bytes)
                case _:
                    return await self._objects.get(url, hold, self.max_bytes)
        except (RowFault, HostFault):
            raise
        except Exception as error:  # What a stranger's server answers stops no other row.
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise RowFault("fetch_failed", reason, permanent=False) from error

    async def _file(self, path: str, hold: Hold) -> bytes:
        read = asyncio.get_running_loop().run_in_executor(
            self._readers, read_file, path, self._roots, self.max_bytes
        )
        content = await read
        await hold.grow(len(content))
        hold.read()
        return content
