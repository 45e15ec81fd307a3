"""What a row's URL says, read strictly: what programs read in different ways is refused."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

from sidecar.errors import RowFault

PORTS = {"http": 80, "https": 443}
OBJECT_STORES = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""Scheme -> the extra of this package that fetches it."""
SCHEMES = "http, https, s3, gs, az and data:"
SAFE = "!#$%&'()*+,/:;=?@[]~"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one HTTP request goes. `host` is in ASCII and lower case, IPv6 without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query, percent-encoded; never empty."""

    @property
    def authority(self) -> str:
        """The host as a URL and the Host header write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, as headers are configured."""
        return f"{self.scheme}://{self.authority}"


def scheme_of(url: str) -> str:
    """`http`, `s3` and so on, in lower case. Raises RowFault fetch_refused for what is no URL."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", url)
    if match is None:
        raise _refused(f"The value is no URL: store one of {SCHEMES} there.")
    scheme = match[1].lower()
    if scheme not in {*PORTS, *OBJECT_STORES, "data"}:
        raise _refused(f"URLs of {scheme}: are not fetched: use {SCHEMES}.")
    return scheme


def target_of(url: str) -> Target:
    """The parts of an http or https URL. Raises RowFault fetch_refused."""
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise _refused("The URL holds white space, a control character or a backslash: encode it.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _refused(f"The URL cannot be read ({error}): mend it.") from error
    if parts.scheme not in PORTS:
        raise _refused(f"URLs of {parts.scheme or 'no scheme'} are not fetched: use {SCHEMES}.")
    if "@" in parts.netloc:
        raise _refused(
            "The URL holds a user name or password: take them out, and give them to the sidecar in"
            " SIDECAR_URL_HEADERS."
        )
    if not host or port == 0:
        raise _refused("The URL names no host: mend it.")
    return Target(parts.scheme, _ascii(host), port or PORTS[parts.scheme], _path(parts))


def data_of(url: str) -> bytes:
    """The bytes of a data: URI (RFC 2397). Raises RowFault fetch_failed."""
    head, comma, body = url.partition(",")
    if not comma:
        raise RowFault("fetch_failed", "The data: URI has no comma before its data: mend it.")
    content = unquote_to_bytes(body)
    if not head.lower().endswith(";base64"):
        return content
    try:
        return base64.b64decode(re.sub(rb"\s", b"", content), validate=True)
    except binascii.Error as error:
        raise RowFault(
            "fetch_failed", f"The data: URI is no valid base64 ({error}): store it again."
        ) from error


def _ascii(host: str) -> str:
    """Names of other alphabets as name servers know them (IDNA); addresses as they are."""
    if "%" in host:
        raise _refused(f"{host!r} is no host that can be fetched from: mend the URL.")
    try:
        return host.encode("idna").decode("ascii").lower() if not host.isascii() else host.lower()
    except UnicodeError as error:
        raise _refused(f"{host!r} is no host name ({error}): mend the URL.") from error


def _path(parts: SplitResult) -> str:
    path = quote(parts.path, safe=SAFE) or "/"
    return path + (f"?{quote(parts.query, safe=SAFE)}" if parts.query else "")


def _refused(message: str) -> RowFault:
    return RowFault("fetch_refused", message)
