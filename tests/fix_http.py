"""A real sidecar that answers HTTP on a port of its own, and a small client."""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from sidecar.http.server import answering
from sidecar.presence import Presence
from sidecar.settings import Settings
from tests.fix_live import HashEncoder, LiveSidecar


@dataclass(frozen=True)
class Reply:
    """A response; `body` is its JSON where it is any."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Half:
    """A connection over which a request was begun."""

    connection: socket.socket

    def reply(self) -> Reply:
        """The answer, which comes although the request is not whole."""
        response = http.client.HTTPResponse(self.connection)
        response.begin()
        return reply_of(response)


def reply_of(response: http.client.HTTPResponse) -> Reply:
    text = response.read().decode()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, text)


class Client:
    """Asks one server; each call has a connection of its own."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port = port
        self._host = host

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Sends bytes as they are, and anything else as JSON."""
        connection = http.client.HTTPConnection(self._host, self.port, timeout=30)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        try:
            connection.request(method, path, body, sent)
            return reply_of(connection.getresponse())
        finally:
            connection.close()

    @contextmanager
    def half(self, start: str, rest: bytes = b"") -> Iterator[Half]:
        """A request that is only begun: its first lines as given, and what of the body is there."""
        with socket.create_connection((self._host, self.port), timeout=30) as connection:
            path = start.split()[1]
            kind = "multipart/form-data; boundary=limit" if "image" in path else "application/json"
            head = f"{start}\r\nhost: {self._host}:{self.port}\r\ncontent-type: {kind}\r\n\r\n"
            connection.sendall(head.encode() + rest)
            yield Half(connection)

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=headers)

    def text(self, text: str) -> Reply:
        return self.ask("POST", "/embed/text", {"text": text})

    def texts(self, *texts: str) -> Reply:
        return self.ask("POST", "/embed/text/batch", {"texts": texts})

    def image(self, content: bytes) -> Reply:
        body, kind = form(content)
        return self.ask("POST", "/embed/image", body, {"content-type": kind})


def form(content: bytes) -> tuple[bytes, str]:
    """A form with one file, and its content type."""
    head = (
        b'--limit\r\ncontent-disposition: form-data; name="file"; filename="x.png"\r\n'
        b"content-type: image/png\r\n\r\n"
    )
    return head + content + b"\r\n--limit--\r\n", "multipart/form-data; boundary=limit"


def png(width: int = 8, height: int = 8, colour: str = "red") -> bytes:
    """A small picture."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


class HttpSidecar(LiveSidecar):
    """A LiveSidecar that answers HTTP too."""

    port = 0

    async def _serve(self, presence: Presence) -> None:
        async with answering(self._settings, presence) as port:
            assert port is not None
            self.port = port
            self.presence = presence
            await super()._serve(presence)

    @property
    def client(self) -> Client:
        return Client(self.port)


StartHttp = Callable[..., HttpSidecar]


@pytest.fixture
def http_sidecar(database: str) -> Iterator[StartHttp]:
    """http_sidecar(http_queue=8, ...) -> a ready sidecar that answers HTTP."""
    with ExitStack() as running:

        def start(encoder: HashEncoder | None = None, **settings: Any) -> HttpSidecar:
            chosen = Settings(**{"http": "127.0.0.1:0", **settings})
            sidecar = HttpSidecar(database, chosen, encoder)
            sidecar.start()
            running.callback(sidecar.stop)
            return sidecar

        yield start
