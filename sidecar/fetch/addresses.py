"""Which addresses a URL of a row may lead to: those of the public internet, and hosts that the
operator names.

What is judged is the address that is really connected to, so that no spelling of a host, no
redirect and no changing answer of a name server leads elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore2

from sidecar.errors import HostFault, RowFault

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

RESOLVERS = 16
"""Names that are looked up at once; a name server that hangs keeps no other thread busy."""
AWAY = 30.0
"""Seconds that rows wait while the sidecar's own network or name server is away."""

# The special-purpose registries of IANA (RFC 6890 and later), where ipaddress.is_global is silent
# or younger than some Python; and addresses of the public range that clouds answer on themselves.
SPECIAL = tuple(
    (ipaddress.ip_network(network), meaning)
    for network, meaning in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, where clouds keep credentials"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("168.63.129.16/32", "a cloud's own service"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b::/96", "IPv4 in disguise (NAT64)"),
        ("64:ff9b:1::/48", "IPv4 in disguise (NAT64)"),
        ("100::/64", "a black hole"),
        ("2001::/23", "reserved or IPv4 in disguise (Teredo)"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "IPv4 in disguise (6to4)"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private (ULA)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private (site-local)"),
        ("ff00::/8", "multicast"),
    )
)

PUBLIC6 = ipaddress.ip_network("2000::/3")
"""All that was given out of IPv6 as global unicast; the rest is reserved (RFC 4291, 2.4)."""


def why_refused(address: Address) -> str | None:
    """What the address is, where a row's URL may not lead to it; None where it may."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    for network, meaning in SPECIAL:
        if address.version == network.version and address in network:
            return meaning
    public = address.is_global and (address.version == 4 or address in PUBLIC6)
    return None if public else "not public"


class CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Connections of httpcore2 to addresses that were resolved and judged here, and to no others.

    `allowed` are hosts, or hosts with ports, whose addresses are not judged.
    """

    def __init__(
        self, allowed: frozenset[str], network: httpcore2.AsyncNetworkBackend | None = None
    ) -> None:
        self._allowed = allowed
        self._network = network or httpcore2.AnyIOBackend()
        self._resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")

    async def connect_tcp(
        self, host: str, port: int, *args: Any, **options: Any
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to the first permitted address that answers.

        Raises RowFault fetch_refused where no address is permitted, HostFault where the sidecar
        itself is cut off.
        """
        refused: dict[str, str] = {}
        problem: Exception | None = None
        for address in await self._resolve(host, port):
            reason = why_refused(ipaddress.ip_address(address))
            if reason and not self._names(host, port):
                refused[address] = reason
                continue
            try:
                return await self._network.connect_tcp(address, port, *args, **options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                problem = error
        if problem is not None:
            raise problem
        address, reason = next(iter(refused.items()))
        where = host if address == host else f"{host} ({address})"
        raise RowFault(
            "fetch_refused",
            f"{where} is not fetched from, for this address is {reason}: store the picture where"
            " everybody can read it, or let an operator add the host to SIDECAR_URL_ALLOW.",
        )

    def close(self) -> None:
        """Ends the threads that look names up."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def _names(self, host: str, port: int) -> bool:
        written = f"[{host}]" if ":" in host else host
        return not self._allowed.isdisjoint({host, written, f"{written}:{port}"})

    async def _resolve(self, host: str, port: int) -> list[str]:
        """Addresses in the order of the system's preference, each once."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._resolvers,
                lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
            )
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise HostFault(f"The name server does not answer for {host}.", AWAY) from error
            raise RowFault(
                "fetch_failed",
                f"The host {host} is unknown ({error.strerror}): mend the URL.",
                permanent=False,
            ) from error
        except (UnicodeError, ValueError) as error:
            raise RowFault("fetch_refused", f"{host!r} is no host name: mend the URL.") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def cut_off(error: BaseException) -> bool:
    """Whether a connection failed because this machine has no way out at all."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENETUNREACH, errno.ENETDOWN):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
