"""Real HTTP servers on loopback, which say what a test tells them to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request; `say` answers it."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.server.answer(self)

    def do_HEAD(self) -> None:
        self.do_GET()

    def say(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Answers with a body of known length; underscores in header names are hyphens."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "content_length" not in headers:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """`seen`: path and headers of all requests. `over` is set when the test ends."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, answer: Answer) -> None:
        self.answer = answer
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.over = threading.Event()
        super().__init__((address, 0), Request)
        self.port = self.server_address[1]
        self.url = f"http://{address}:{self.port}"

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no error here."""


@pytest.fixture
def web() -> Iterator[Callable[..., Server]]:
    """web(lambda request: request.say(200, b'...')) -> a server on 127.0.0.1, or `address`."""
    with ExitStack() as servers:

        def start(answer: Answer, address: str = "127.0.0.1") -> Server:
            server = Server(address, answer)
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            servers.callback(server.server_close)
            servers.callback(thread.join)
            servers.callback(server.shutdown)
            servers.callback(server.over.set)
            return server

        yield start
