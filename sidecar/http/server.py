"""Listens in the service's own event loop. Takes no signals, and logs as everything else does."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn

from sidecar.errors import ServiceFault, SettingsError
from sidecar.http.app import create_app
from sidecar.presence import Presence
from sidecar.settings import Settings, is_loopback, split_address

log = logging.getLogger("sidecar.http")

DEFAULT = "127.0.0.1:9000"
BACKLOG = 1024
CONNECTIONS = 1024
"""Most connections at a time; more get 503."""
IDLE = 65
"""Seconds that a connection is kept for the next request; proxies give up after 60."""
FAREWELL = 1.0
"""Seconds for the last responses, after the service has ended what they waited for."""


class Server(uvicorn.Server):
    """uvicorn's, without its signal handlers: the service has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield


class ToOurLog(logging.Handler):
    """uvicorn's warnings as events of ours, such as a request that is no HTTP."""

    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, "http_server", extra={"what": record.getMessage()[:200]})


@asynccontextmanager
async def answering(settings: Settings, presence: Presence) -> AsyncIterator[int | None]:
    """Answers HTTP while the block runs; the port, or None where HTTP is off.

    Raises ServiceFault where the address that was set cannot be had. The default address may be
    another sidecar's: then this one goes on without.
    """
    listener = listen(settings)
    if listener is None:
        yield None
        return
    host, port = listener.getsockname()[:2]
    server = Server(configuration(settings, presence, host))
    serving = asyncio.create_task(server.serve([listener]))
    log.info("http_listening", extra={"address": f"{host}:{port}"})
    try:
        yield int(port)
    finally:
        presence.stopping = server.should_exit = True
        with suppress(TimeoutError):
            await asyncio.wait_for(serving, FAREWELL)
        listener.close()


def listen(settings: Settings) -> socket.socket | None:
    """A socket that is bound to the address of the settings, or None."""
    address = settings.http or DEFAULT
    if address == "off":
        return None
    host, port = split_address(address)
    if not is_loopback(host) and not settings.token:
        raise SettingsError(f"SIDECAR_HTTP={address} needs SIDECAR_TOKEN: others reach it.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listener = socket.create_server(found[0][4][:2], family=found[0][0], backlog=BACKLOG)
        # asyncio does so for sockets of its own making alone; else every answer waits 40 ms for
        # the acknowledgement of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        reason = error.strerror or str(error)
        if settings.http is None:
            mend = "set SIDECAR_HTTP=host:port for this sidecar, or SIDECAR_HTTP=off"
            log.warning("http_off", extra={"address": address, "error": reason, "mend": mend})
            return None
        raise ServiceFault(
            f"SIDECAR_HTTP={address} cannot be listened on: {reason}. Set another address and port,"
            " or SIDECAR_HTTP=off."
        ) from error


def configuration(settings: Settings, presence: Presence, host: str) -> uvicorn.Config:
    """uvicorn's, for this application."""
    logger = logging.getLogger("uvicorn")
    logger.handlers[:] = [ToOurLog(logging.WARNING)]
    logger.propagate = False
    return uvicorn.Config(
        create_app(settings, presence, host),
        http="h11",  # it bounds the headers; httptools does not
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE,
    )
