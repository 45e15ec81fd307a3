"""No URL of a row leads to an address that is not public, however it is written."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import httpcore2
import pytest

from sidecar.errors import HostFault, RowFault
from sidecar.fetch.addresses import CheckedNetwork, why_refused

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%2",
    "fec0::1",
    "ff02::1",
    "4000::1",
]
PUBLIC = [
    "1.1.1.1",
    "93.184.215.14",
    "172.32.0.1",
    "100.128.0.1",
    "::ffff:1.1.1.1",
    "2606:4700::1111",
]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert why_refused(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert why_refused(ipaddress.ip_address(address)) is None


class Reached(httpcore2.AsyncNetworkBackend):
    """In the place of the network: notes where a connection would go, and makes none."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def connect_tcp(
        self, host: str, port: int, *args: Any, **options: Any
    ) -> httpcore2.AsyncNetworkStream:
        self.addresses.append(host)
        raise httpcore2.ConnectError("no network here")


def reach(host: str, *allowed: str, port: int = 80) -> list[str]:
    """The addresses that a URL with this host leads to. Raises RowFault where it is refused."""
    network = Reached()

    async def run() -> None:
        checked = CheckedNetwork(frozenset(allowed), network)
        try:
            await checked.connect_tcp(host, port)
        except httpcore2.ConnectError:
            pass
        finally:
            checked.close()

    asyncio.run(run())
    return network.addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0x7f.1",
        "localhost",
        "0",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
    ],
)
def test_every_spelling_of_a_private_address_is_refused(host: str) -> None:
    with pytest.raises(RowFault, match="SIDECAR_URL_ALLOW") as caught:
        reach(host)
    assert (caught.value.code, caught.value.permanent) == ("fetch_refused", True)


def test_a_host_that_is_named_is_reached_and_no_other_spelling_of_it() -> None:
    assert reach("127.0.0.1", "127.0.0.1") == ["127.0.0.1"]
    assert reach("127.0.0.1", "127.0.0.1:80") == ["127.0.0.1"]
    assert reach("::1", "[::1]:80") == ["::1"]
    for host, allowed in [("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "127.0.0.1:81")]:
        with pytest.raises(RowFault):
            reach(host, allowed)


def answers(monkeypatch: pytest.MonkeyPatch, *turns: list[str]) -> list[str]:
    """A name server that says something else each time; the names that it was asked for."""
    asked: list[str] = []
    left = list(turns)

    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in left.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


def test_what_was_judged_is_what_is_connected_to_when_the_name_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answers(monkeypatch, ["1.1.1.1"], ["127.0.0.1"])
    assert reach("rebind.example") == ["1.1.1.1"]
    assert asked == ["rebind.example"]
    with pytest.raises(RowFault, match=r"rebind\.example \(127\.0\.0\.1\)"):
        reach("rebind.example")


def test_of_several_addresses_only_the_public_ones_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers(monkeypatch, ["10.0.0.1", "1.1.1.1", "127.0.0.1", "1.0.0.1"])
    assert reach("mixed.example") == ["1.1.1.1", "1.0.0.1"]


@pytest.mark.parametrize(
    ("number", "fault"), [(socket.EAI_AGAIN, HostFault), (socket.EAI_NONAME, RowFault)]
)
def test_an_unknown_name_is_the_rows_fault_and_a_silent_name_server_is_not(
    monkeypatch: pytest.MonkeyPatch, number: int, fault: type[Exception]
) -> None:
    def lookup(*_: Any, **__: Any) -> None:
        raise socket.gaierror(number, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(fault):
        reach("nowhere.example")
