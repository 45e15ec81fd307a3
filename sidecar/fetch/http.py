"""http and https: one GET, with every redirect judged like the first URL, and bounded in time and
size.

Headers that the operator configured go to exactly the origin that they are for. Proxies of the
environment are not used: behind one, nobody could check where a connection leads.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import httpcore2

from sidecar.errors import HostFault, RowFault
from sidecar.fetch.addresses import AWAY, CheckedNetwork, cut_off
from sidecar.fetch.hosts import Hosts
from sidecar.fetch.memory import Hold
from sidecar.fetch.urls import PORTS, Target, target_of

MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
MISSING = (404, 410)
FORBIDDEN = (401, 402, 403, 407, 451)
PASSING = (408, 421, 423, 425, 500, 502, 503, 504)
"""Statuses after which the same request can succeed."""
TOO_MANY = 429
UNAVAILABLE = 503
PAUSE = 30.0
"""Seconds that a host is left alone which says 429 and not for how long."""
KEPT = 64
"""Idle connections that are kept, for KEPT_SECONDS."""
KEPT_SECONDS = 15.0

AGENT = b"pg-embedding-sidecar"


class Http:
    """A client of the public web, for one event loop."""

    def __init__(
        self,
        hosts: Hosts,
        allowed: frozenset[str],
        headers: Mapping[str, Mapping[str, str]],
        seconds: float,
    ) -> None:
        self._hosts = hosts
        self._headers = headers
        self._seconds = seconds
        self._network = CheckedNetwork(allowed)
        self._pools: dict[str, httpcore2.AsyncConnectionPool] = {}
        self._making = asyncio.Lock()

    async def get(self, url: str, hold: Hold, most: int) -> bytes:
        """The content behind a URL, at most `most` bytes, which `hold` accounts for.

        Raises RowFault: fetch_refused, fetch_not_found, fetch_forbidden, fetch_failed,
        fetch_too_large; HostFault where the host is busy or resting.
        """
        left = self._seconds
        for _ in range(MOST_REDIRECTS + 1):
            target = target_of(url)
            async with self._hosts.turn(target.authority):
                hold.owner = target.authority
                began, waited = time.monotonic(), hold.waited
                answer = await self._ask(target, hold, most, left)
                left -= time.monotonic() - began - (hold.waited - waited)
            if isinstance(answer, bytes):
                return answer
            url = urljoin(url, answer)
        raise RowFault(
            "fetch_failed",
            f"{target.authority} redirects more than {MOST_REDIRECTS} times: store the last URL.",
        )

    async def close(self) -> None:
        """Ends all connections."""
        self._network.close()
        for connections in self._pools.values():
            await connections.aclose()

    async def _connections(self, scheme: str) -> httpcore2.AsyncConnectionPool:
        async with self._making:
            if scheme not in self._pools:
                # One for all connections: reading the system's certificates takes 0.1 s.
                context = None
                if scheme == "https":
                    context = await asyncio.to_thread(httpcore2.default_ssl_context)
                self._pools[scheme] = httpcore2.AsyncConnectionPool(
                    ssl_context=context,
                    max_connections=None,  # Hosts and the claims bound them.
                    max_keepalive_connections=KEPT,
                    keepalive_expiry=KEPT_SECONDS,
                    network_backend=self._network,
                )
            return self._pools[scheme]

    async def _ask(self, target: Target, hold: Hold, most: int, seconds: float) -> bytes | str:
        """The content, or where it is instead."""
        deadline = asyncio.timeout(max(seconds, 0.001))
        try:
            async with deadline:
                return await self._request(target, hold, most, deadline)
        except TimeoutError as error:
            reason = f"was not done in {self._seconds:g} s"
            raise _failed(target, reason) from error
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.TimeoutException,
        ) as error:
            if cut_off(error):
                raise HostFault("This machine has no network.", AWAY) from error
            reason = " ".join(str(error).split()) or type(error).__name__
            raise _failed(target, f"broke off: {reason}") from error

    async def _request(
        self, target: Target, hold: Hold, most: int, deadline: asyncio.Timeout
    ) -> bytes | str:
        url = httpcore2.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=None if target.port == PORTS[target.scheme] else target.port,
            target=target.path.encode(),
        )
        connections = await self._connections(target.scheme)
        async with connections.stream("GET", url, headers=self._sent(target)) as response:
            headers = {name.lower(): value for name, value in response.headers}
            if response.status in REDIRECTS and b"location" in headers:
                return headers[b"location"].decode("utf-8", "replace")
            if response.status != 200:
                raise self._unwanted(target, response.status, headers)
            if headers.get(b"content-encoding", b"identity") != b"identity":
                raise _failed(target, "sent it compressed, which was not asked for", permanent=True)
            if int(headers.get(b"content-length", b"0")) > most:
                raise _too_large(target, int(headers[b"content-length"]), most)
            body = bytearray()
            async for piece in response.aiter_stream():
                if len(body) + len(piece) > most:
                    raise _too_large(target, len(body) + len(piece), most)
                await _grow(hold, len(piece), deadline)
                body += piece
        hold.read()
        return bytes(body)

    def _sent(self, target: Target) -> list[tuple[bytes, bytes]]:
        sent = {
            b"host": target.authority.encode(),
            b"user-agent": AGENT,
            b"accept": b"image/*, */*;q=0.5",
            b"accept-encoding": b"identity",
        }
        for name, value in self._headers.get(target.origin, {}).items():
            sent[name.lower().encode()] = value.encode()
        return list(sent.items())

    def _unwanted(
        self, target: Target, status: int, headers: Mapping[bytes, bytes]
    ) -> RowFault | HostFault:
        host = target.authority
        after = _seconds(headers.get(b"retry-after", b""))
        if status == TOO_MANY or (status == UNAVAILABLE and after is not None):
            wait = self._hosts.rest(host, PAUSE if after is None else after)
            return HostFault(f"{host} answered {status}.", wait)
        if status in MISSING:
            return RowFault(
                "fetch_not_found",
                f"{host} answered {status}, nothing is there: store a URL that exists, or NULL.",
            )
        if status in FORBIDDEN:
            return RowFault(
                "fetch_forbidden",
                f"{host} answered {status}: give the sidecar what the host wants to see in"
                f" SIDECAR_URL_HEADERS, for {target.origin}, then retry.",
            )
        return _failed(target, f"answered {status}", permanent=status not in PASSING)


async def _grow(hold: Hold, size: int, deadline: asyncio.Timeout) -> None:
    """Makes room for a piece; the time that this takes is not the host's."""
    clock = asyncio.get_running_loop().time
    left = (deadline.when() or 0.0) - clock()
    deadline.reschedule(None)
    await hold.grow(size)
    deadline.reschedule(clock() + left)


def _seconds(value: bytes) -> float | None:
    """Of Retry-After (RFC 9110, 10.2.3): seconds, or a date; None for anything else."""
    text = value.decode("ascii", "replace").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def _failed(target: Target, what: str, *, permanent: bool = False) -> RowFault:
    return RowFault(
        "fetch_failed",
        f"{target.authority} {what}: see whether the URL works, then retry.",
        permanent=permanent,
    )


def _too_large(target: Target, size: int, most: int) -> RowFault:
    return RowFault(
        "fetch_too_large",
        f"{target.authority} sends {size:,} bytes or more, and at most {most:,} are allowed: store"
        " a smaller picture there, or raise SIDECAR_MAX_IMAGE_BYTES.",
    )
