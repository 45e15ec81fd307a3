"""Before any route: whose name was called, who calls, how much comes, and how long it may take.

Plain ASGI, so that a refusal costs little. It also counts the responses.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import traceback
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar import metrics
from sidecar.http.problems import Problem, document, of_fault
from sidecar.settings import Settings, is_loopback

log = logging.getLogger("sidecar.http")

OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""Paths that need no token: they hold nothing of the database's, and probes have none."""
JSON_BYTES = 8 * 1024 * 1024
"""Most bytes of a body that is no picture: 256 texts of the longest that is looked at, in UTF-8."""
FORM_BYTES = 64 * 1024
"""What a form adds to the picture in it."""
AT_ONCE = 4
"""Bodies of all requests together are at most so many pictures of the largest size."""

GONE = 499
"""The status under which a request is counted whose client went away before the answer."""

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """Wraps the application. `host` is the address that is listened on."""

    def __init__(self, app: ASGIApp, settings: Settings, host: str) -> None:
        self._app = app
        self._token = settings.token.encode() if settings.token else None
        self._seconds = settings.http_timeout
        self._image_bytes = settings.max_image_bytes + FORM_BYTES
        self._room = AT_ONCE * self._image_bytes
        self._names = None if settings.token and not is_loopback(host) else {host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, began = 0, time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                known = {name for name, _ in message.get("headers", ())}
                more = [header for header in HEADERS if header[0] not in known]
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        try:
            await self._serve(scope, receive, sending)
        except Exception as error:
            problem = of_fault(error)
            if problem.code == "internal":
                log.error("http_failed", extra=_where(error))
            if not status:
                await document(problem)(scope, receive, sending)
        finally:
            _count(_route(scope), status or GONE, time.perf_counter() - began)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        self._check_origin(headers)
        self._check_token(scope, headers)
        body = Body(receive, self._limit(scope), headers)
        if body.expected > self._room:
            raise Problem(
                429,
                "busy",
                "Other requests have taken the room for bodies; send this one again.",
                {"retry-after": "1"},
            )
        self._room -= body.expected
        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, body.receive, send)
        except TimeoutError as error:
            if body.complete:
                detail = "raise SIDECAR_HTTP_TIMEOUT, or ask for less at a time"
                code, said = 504, f"There was no answer within {self._seconds:g} s"
            else:
                detail, code = "send it faster, or in smaller parts", 408
                said = f"The body did not come within {self._seconds:g} s"
            raise Problem(code, "timeout", f"{said}: {detail}.", {"retry-after": "1"}) from error
        finally:
            self._room += body.expected

    def _check_host(self, headers: Headers) -> None:
        """On a loopback address a page from elsewhere could have its own name point to us."""
        if self._names is None:
            return
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if not is_loopback(host) and host not in self._names:
            raise Problem(
                421, "host_refused", "Call this server by 127.0.0.1, localhost or its own address."
            )

    def _check_origin(self, headers: Headers) -> None:
        """A page of another origin may not ask, not even blindly."""
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise Problem(403, "origin_refused", "Pages of other origins may not ask this server.")

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        if self._token is None or scope["path"] in OPEN:
            return
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(
            token.strip().encode("utf-8", "replace"), self._token
        ):
            raise Problem(
                401,
                "unauthorized",
                "Send the header Authorization: Bearer and the sidecar's SIDECAR_TOKEN.",
                {"www-authenticate": "Bearer"},
            )

    def _limit(self, scope: Scope) -> int:
        return self._image_bytes if scope["path"] == "/embed/image" else JSON_BYTES


class Body:
    """A request's body, counted as it comes."""

    def __init__(self, receive: Receive, limit: int, headers: Headers) -> None:
        self._receive = receive
        self._limit = limit
        self._came = 0
        self.complete = False
        # Without a length it may become as long as is allowed.
        self.expected = int(headers.get("content-length", 0))
        if "transfer-encoding" in headers:
            self.expected = limit
        self._check(self.expected)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._came += len(message.get("body", b""))
            self._check(self._came)
            self.complete = not message.get("more_body", False)
        return message

    def _check(self, length: int) -> None:
        if length > self._limit:
            raise Problem(
                413,
                "body_too_large",
                f"The body may have at most {self._limit:,} bytes: send a smaller picture or fewer"
                " texts, or raise SIDECAR_MAX_IMAGE_BYTES for larger pictures.",
            )


def _count(route: str, status: int, seconds: float) -> None:
    metrics.HTTP_RESPONSES.labels(route, str(status)).inc()
    if not route.startswith("/embed"):
        return
    if status < 300:
        metrics.count_request("http", "answered", seconds)
    elif status >= 500:
        metrics.count_request("http", "unavailable")
    else:
        outcome = {GONE: "abandoned", 429: "busy"}.get(status, "refused")
        metrics.count_request("http", outcome)


def _where(error: Exception) -> dict[str, str]:
    """An unforeseen error without its message, which could hold what was asked."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return {"error": type(error).__name__, "where": f"{frame.filename}:{frame.lineno}"}


def _route(scope: Scope) -> str:
    """The path as it was declared; nothing that a client makes up becomes a label."""
    return getattr(scope.get("route"), "path", None) or "none"
