"""A TCP proxy before the database that can drop, stall and half-close its connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


class Link:
    """One connection, from its client to the database."""

    def __init__(self, client: Writer, server: Writer) -> None:
        self.client = client
        self.server = server
        self.flows = asyncio.Event()
        self.flows.set()

    def abort(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """`drop`, `stall` and `half_close` hit the connections that are there, and new ones until
    `heal`; what was hit stays broken."""

    def __init__(self, port: int) -> None:
        self.hits = 0
        """Bytes that were held back, and connections that were turned away, in pieces."""
        self._upstream = port
        self._links: set[Link] = set()
        self._broken = ""
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server: asyncio.Server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def url(self, url: str) -> str:
        """The same database by way of the proxy."""
        parts = urlsplit(url)
        credentials = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{self.port}"))

    def drop(self) -> None:
        """Resets every connection."""
        self._do(self._break("drop"))

    def stall(self) -> None:
        """Lets nothing through any more, and says nothing."""
        self._do(self._break("stall"))

    def half_close(self) -> None:
        """Ends what comes from the database; the database still listens."""
        self._do(self._break("half_close"))

    def heal(self) -> None:
        """New connections work again."""
        self._do(self._break(""))

    def stop(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, call: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(20)

    async def _break(self, how: str) -> None:
        self._broken = how
        self.hits = 0
        for link in self._links.copy() if how else ():
            self._hit(link)

    def _hit(self, link: Link) -> None:
        if self._broken == "drop":
            link.abort()
        elif self._broken == "stall":
            link.flows.clear()
        elif link.client.can_write_eof() and not link.client.is_closing():
            with suppress(OSError, RuntimeError):
                link.client.write_eof()

    async def _end(self) -> None:
        self._server.close()
        for link in self._links.copy():
            link.abort()
        for task in self._tasks.copy():
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._broken in ("drop", "half_close"):
                self.hits += 1
                writer.transport.abort()
                return
            upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
            link = Link(writer, upstream[1])
            self._links.add(link)
            if self._broken:
                self._hit(link)
            pumps = [self._pump(link, reader, link.server), self._pump(link, upstream[0], writer)]
            await asyncio.gather(*pumps)
            link.abort()
            self._links.discard(link)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _pump(self, link: Link, source: Reader, sink: Writer) -> None:
        with suppress(OSError, RuntimeError):
            while data := await source.read(65536):
                if not link.flows.is_set():
                    self.hits += 1
                await link.flows.wait()
                sink.write(data)
                await sink.drain()
            if sink is link.server:
                link.abort()  # who asked has gone
            else:
                sink.write_eof()


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy to the server on this port of 127.0.0.1."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.stop()
