"""Object stores, through fsspec: s3, gs, az. Each needs its extra of this package.

Where the store is and who asks are told by the environment alone, in the words of its own client
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME
and so on): a row can name no host and no account.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any
from urllib.parse import urlsplit

import fsspec

from sidecar.errors import RowFault
from sidecar.fetch.hosts import Hosts
from sidecar.fetch.memory import Hold
from sidecar.fetch.urls import OBJECT_STORES


class Objects:
    """Clients of object stores, made when a row first asks for one; for one event loop."""

    def __init__(self, hosts: Hosts, seconds: float) -> None:
        self._hosts = hosts
        self._seconds = seconds
        self._clients: dict[str, Any] = {}
        self._making = asyncio.Lock()

    async def get(self, url: str, hold: Hold, most: int) -> bytes:
        """The content of an object, at most `most` bytes.

        Raises RowFault: fetch_refused, fetch_not_found, fetch_forbidden, fetch_failed,
        fetch_too_large.
        """
        extra, path = _place(url)
        bucket = f"{extra}://{path.partition('/')[0]}"
        async with self._hosts.turn(bucket):
            hold.owner = bucket
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._read(await self._client(extra), path, hold, most)
            except FileNotFoundError as error:
                message = f"{bucket} has no such object: store a URL that exists, or NULL."
                raise RowFault("fetch_not_found", message) from error
            except PermissionError as error:
                message = f"{bucket} may not be read: give the sidecar credentials, then retry."
                raise RowFault("fetch_forbidden", message) from error
            except RowFault:
                raise
            except Exception as error:  # Each store's client has errors of its own.
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                message = f"{bucket} did not give the object: {reason}"
                raise RowFault("fetch_failed", message, permanent=False) from error

    async def close(self) -> None:
        """Ends all connections."""
        for client in self._clients.values():
            session = getattr(client, "_s3", None) or getattr(client, "_session", None)
            closing = getattr(session, "close", None)
            result = closing() if closing else None
            if inspect.isawaitable(result):
                await result

    async def _read(self, client: Any, path: str, hold: Hold, most: int) -> bytes:
        size = int((await client._info(path))["size"])
        if size > most:
            raise RowFault(
                "fetch_too_large",
                f"The object has {size:,} bytes, and at most {most:,} are allowed: store a smaller"
                " picture, or raise SIDECAR_MAX_IMAGE_BYTES.",
            )
        await hold.grow(size)
        content = await client._cat_file(path, start=0, end=size) if size else b""
        hold.read()
        return bytes(content)

    async def _client(self, extra: str) -> Any:
        async with self._making:
            if extra not in self._clients:
                try:
                    make = fsspec.get_filesystem_class(extra)
                except ImportError as error:
                    raise RowFault(
                        "fetch_refused",
                        f"{extra}: URLs need an extra that is not installed: pip install"
                        f" 'pg-embedding-sidecar[{extra}]', then retry.",
                    ) from error
                client = make(asynchronous=True, skip_instance_cache=True)
                if hasattr(client, "set_session"):
                    await client.set_session()
                self._clients[extra] = client
            return self._clients[extra]


def _place(url: str) -> tuple[str, str]:
    """The extra that fetches a URL, and bucket and key."""
    parts = urlsplit(url)
    _, _, path = url.partition("://")
    if not parts.netloc or "@" in parts.netloc or not path.partition("/")[2]:
        raise RowFault(
            "fetch_refused",
            f"The URL names no object: store {parts.scheme}://bucket/key, without an account.",
        )
    return OBJECT_STORES[parts.scheme.lower()], path
