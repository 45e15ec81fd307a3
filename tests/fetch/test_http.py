"""Fetching from real servers on loopback: every answer, every redirect, every limit."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from sidecar.errors import HostFault, RowFault
from sidecar.fetch.hosts import Hosts
from sidecar.fetch.http import Http
from sidecar.fetch.memory import Hold, Memory
from tests.fix_web import Request, Server

Web = Callable[..., Server]
LIMIT = 100_000
CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""For the name localhost, signed by itself, and its key: for these tests alone."""


async def get_all(
    *urls: str,
    allow: str = "127.0.0.1",
    headers: Mapping[str, Mapping[str, str]] | None = None,
    seconds: float = 10,
    at_once: int = 8,
    memory: int = 1 << 20,
) -> list[bytes | BaseException]:
    """What each URL gives, all at once."""
    room = Memory(memory)
    http = Http(Hosts(at_once), frozenset(allow.split(",")), headers or {}, seconds)

    async def one(url: str) -> bytes:
        hold = Hold(room)
        try:
            return await http.get(url, hold, LIMIT)
        finally:
            hold.free()

    try:
        return await asyncio.gather(*map(one, urls), return_exceptions=True)
    finally:
        await http.close()


def get(*urls: str, **options: object) -> bytes:
    """What the last URL gives, one after the other; raises its fault."""
    (answer,) = asyncio.run(get_all(*urls, **options))  # type: ignore[arg-type]
    if isinstance(answer, BaseException):
        raise answer
    return answer


def fault(url: str, **options: object) -> RowFault:
    with pytest.raises(RowFault) as caught:
        get(url, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_content_of_a_url_is_fetched_with_path_and_query(web: Web) -> None:
    server = web(lambda request: request.say(200, b"a picture"))
    assert get(f"{server.url}/caf\u00e9 1.jpg?a=b%20c#part".replace(" ", "%20")) == b"a picture"
    path, headers = server.seen[0]
    assert path == "/caf%C3%A9%201.jpg?a=b%20c"
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "code", "permanent"),
    [
        (404, "fetch_not_found", True),
        (410, "fetch_not_found", True),
        (401, "fetch_forbidden", True),
        (403, "fetch_forbidden", True),
        (400, "fetch_failed", True),
        (204, "fetch_failed", True),
        (304, "fetch_failed", True),
        (408, "fetch_failed", False),
        (500, "fetch_failed", False),
        (503, "fetch_failed", False),
    ],
)
def test_each_status_has_its_code(web: Web, status: int, code: str, permanent: bool) -> None:
    caught = fault(web(lambda request: request.say(status)).url)
    assert (caught.code, caught.permanent) == (code, permanent)
    assert str(status) in str(caught)


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("status", "after", "least", "most"),
    [
        (429, "120", 119, 120),
        (503, "7", 6, 7),
        (429, 600.0, 590, 600),
        (429, "soon", 29, 30),
        (429, "999999", 3599, 3600),
        (503, -60.0, 0.9, 1),
    ],
)
def test_a_host_that_says_when_to_come_back_is_left_alone_until_then(
    web: Web, status: int, after: str | float, least: float, most: float
) -> None:
    """`after` is the header, or how many seconds off the date in it is."""
    after = http_date(after) if isinstance(after, float) else after
    server = web(lambda request: request.say(status, retry_after=after))

    async def twice() -> list[HostFault]:
        hosts = Hosts(8)
        http = Http(hosts, frozenset(["127.0.0.1"]), {}, 10)
        faults = []
        for _ in range(2):
            with pytest.raises(HostFault) as caught:
                await http.get(server.url, Hold(Memory(LIMIT)), LIMIT)
            faults.append(caught.value)
        await http.close()
        return faults

    for caught in asyncio.run(twice()):
        assert least <= caught.seconds <= most
    assert len(server.seen) == 1


def test_redirects_are_followed_and_counted(web: Web) -> None:
    def answer(request: Request) -> None:
        left = int(request.path[1:])
        if left:
            request.say(302, location=f"/{left - 1}")
        else:
            request.say(200, b"there")

    server = web(answer)
    assert get(f"{server.url}/5") == b"there"
    assert fault(f"{server.url}/6").code == "fetch_failed"
    assert fault(web(lambda r: r.say(301, location=r.path)).url).code == "fetch_failed"


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.2:{port}/",
        "http://localhost:{port}/",
        "http://2130706434:{port}/",
        "http://0x7f000002:{port}/",
        "http://0177.0.0.2:{port}/",
        "http://127.2:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
        "http://[::ffff:7f00:2]:{port}/",
        "http://127.0.0.1@127.0.0.2:{port}/",
        "http://127.0.0.1:{port}@127.0.0.2:{port}/",
        "http://127.0.0.2:{port}\\@127.0.0.1/",
        "http://127.0.0.1%00.127.0.0.2:{port}/",
        "http://\u2460\u2461\u2466.0.0.2:{port}/",
        "//127.0.0.2:{port}/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/_x",
        "ftp://127.0.0.1:{port}/x",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://127.0.0.1:99999/",
    ],
)
def test_neither_a_url_nor_a_redirect_leads_where_it_may_not(web: Web, place: str) -> None:
    inner = web(lambda request: request.say(200, b"secret"), address="127.0.0.2")
    place = place.format(port=inner.port)
    outer = web(lambda r: r.say(302, location=place.encode().decode("latin-1")))
    for url in (place, outer.url):
        assert fault(url).code == "fetch_refused"
    assert inner.seen == []


def test_a_host_is_reached_when_it_is_named(web: Web) -> None:
    inner = web(lambda request: request.say(200, b"inner"), address="127.0.0.2")
    outer = web(lambda request: request.say(302, location=inner.url))
    assert get(outer.url, allow=f"127.0.0.1,127.0.0.2:{inner.port}") == b"inner"


def test_headers_go_to_their_own_origin_and_nowhere_else(web: Web) -> None:
    other = web(lambda request: request.say(200, b"other"))
    own = web(lambda request: request.say(302, location=other.url))
    headers = {own.url: {"Authorization": "Bearer secret", "X-Key": "k"}}
    assert get(own.url, headers=headers) == b"other"
    assert own.seen[0][1]["authorization"] == "Bearer secret"
    assert own.seen[0][1]["x-key"] == "k"
    assert "authorization" not in other.seen[0][1]
    assert "x-key" not in other.seen[0][1]


def test_what_is_too_large_is_not_read(web: Web) -> None:
    def endless(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"x" * 10_000)

    said = web(lambda request: request.say(200, b"", content_length=str(LIMIT + 1)))
    assert fault(said.url).code == "fetch_too_large"
    assert fault(web(endless).url).code == "fetch_too_large"
    assert get(web(lambda request: request.say(200, b"x" * LIMIT)).url) == b"x" * LIMIT


def test_a_server_that_stops_breaks_off_lies_or_hangs_is_tried_again(web: Web) -> None:
    def hang(request: Request) -> None:
        request.server.over.wait(30)

    def drip(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        while not request.server.over.wait(0.05):
            request.wfile.write(b"x")

    def cut(request: Request) -> None:
        request.say(200, b"half", content_length="100")
        request.close_connection = True

    def nonsense(request: Request) -> None:
        request.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")
        request.close_connection = True

    def closed(request: Request) -> None:
        request.close_connection = True

    for answer in (hang, drip, cut, nonsense, closed):
        caught = fault(web(answer).url, seconds=0.5)
        assert (caught.code, caught.permanent) == ("fetch_failed", False), answer
    gone = web(closed)
    gone.server_close()
    assert not fault(gone.url).permanent


def test_compressed_answers_are_refused(web: Web) -> None:
    server = web(lambda request: request.say(200, b"x", content_encoding="gzip"))
    assert fault(server.url).code == "fetch_failed"


def test_a_host_gets_no_more_requests_at_once_than_allowed(web: Web) -> None:
    now: list[int] = [0]
    most: list[int] = [0]

    def answer(request: Request) -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.02)
        now[0] -= 1
        request.say(200, b"x")

    server = web(answer)
    assert asyncio.run(get_all(*[server.url] * 12, at_once=3)) == [b"x"] * 12
    assert 1 < most[0] <= 3


def test_rows_of_a_host_that_hangs_go_back_and_others_go_on(web: Web) -> None:
    hanging = web(lambda request: request.server.over.wait(30), address="127.0.0.2")
    good = web(lambda request: request.say(200, b"good"))
    urls = [hanging.url] * 20 + [good.url] * 5
    answers = asyncio.run(get_all(*urls, allow="127.0.0.1,127.0.0.2", seconds=4, at_once=3))
    assert answers[20:] == [b"good"] * 5
    assert len([a for a in answers[:20] if isinstance(a, HostFault)]) == 17
    assert len(hanging.seen) == 3


def test_memory_is_bounded_and_all_contents_still_arrive(web: Web) -> None:
    hosts = [f"127.0.0.{n}" for n in range(1, 5)]
    urls = [web(lambda r: r.say(200, b"x" * 50_000), address=host).url for host in hosts]

    async def run(urls: list[str]) -> int:
        room = Memory(100_000)
        http = Http(Hosts(16), frozenset(hosts), {}, 20)
        most = 0

        async def one(url: str) -> None:
            nonlocal most
            hold = Hold(room)
            assert len(await http.get(url, hold, LIMIT)) == 50_000
            most = max(most, room.used.total())
            await asyncio.sleep(0.01)
            hold.free()

        await asyncio.gather(*map(one, urls))
        assert room.used.total() == 0
        await http.close()
        return most

    assert asyncio.run(run(urls * 4)) <= 150_000
    assert asyncio.run(run(urls[:1] * 8)) <= 75_000


def test_bodies_that_stop_half_way_leave_room_for_other_hosts(web: Web) -> None:
    def half(request: Request) -> None:
        request.send_response(200)
        request.send_header("content-length", str(LIMIT))
        request.end_headers()
        request.wfile.write(b"x" * (LIMIT - 1))
        request.server.over.wait(30)

    stuck = web(half, address="127.0.0.2")
    good = web(lambda request: request.say(200, b"x" * 90_000))

    async def run() -> bytes:
        room = Memory(400_000)
        http = Http(Hosts(8), frozenset(["127.0.0.1", "127.0.0.2"]), {}, 20)
        stuck_ones = [asyncio.create_task(http.get(stuck.url, Hold(room), LIMIT)) for _ in range(5)]
        await asyncio.sleep(0.5)  # what they can take, they take
        arrived = await http.get(good.url, Hold(room), LIMIT)
        assert not any(task.done() for task in stuck_ones)
        for task in stuck_ones:
            task.cancel()
        await asyncio.gather(*stuck_ones, return_exceptions=True)
        await http.close()
        return arrived

    assert asyncio.run(run()) == b"x" * 90_000


def test_https_is_checked_against_the_name_in_the_url_not_the_address(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = web(lambda request: request.say(200, b"private"))
    encrypted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encrypted.load_cert_chain(CERTIFICATE)
    server.socket = encrypted.wrap_socket(server.socket, server_side=True)
    named, numbered = f"https://localhost:{server.port}", f"https://127.0.0.1:{server.port}"
    assert "certificate verify failed" in str(fault(named, allow="localhost"))
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    headers = {named: {"X-Key": "secret"}}
    assert get(named, allow="localhost", headers=headers) == b"private"
    assert server.seen[0][1]["x-key"] == "secret"
    assert "certificate verify failed" in str(fault(numbered))
    assert fault(named, allow="127.0.0.1").code == "fetch_refused"
    assert len(server.seen) == 1
