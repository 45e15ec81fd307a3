"""s3: URLs, from a real server on loopback that speaks as much of S3 as is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sidecar.errors import RowFault
from sidecar.fetch.hosts import Hosts
from sidecar.fetch.memory import Hold, Memory
from sidecar.fetch.objects import Objects
from tests.fix_web import Request, Server

LIMIT = 1000
CONTENTS = {
    "/pictures/a%20b.jpg": b"a picture",
    "/pictures/empty": b"",
    "/pictures/big": b"x" * 2000,
}


@pytest.fixture
def s3(web: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    """The store that the environment names, with credentials."""

    def answer(request: Request) -> None:
        path = request.path.partition("?")[0]
        if path.startswith("/locked/"):
            body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
            request.say(403, body)
        elif path in CONTENTS:
            content = CONTENTS[path]
            if "range" in request.headers:
                length = len(content)
                request.say(206, content, content_range=f"bytes 0-{length - 1}/{length}")
            else:
                request.say(200, content)
        else:
            request.say(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")

    server = web(answer)
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "the-key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return server


def get(*urls: str) -> list[bytes | BaseException]:
    async def run() -> list[bytes | BaseException]:
        objects = Objects(Hosts(8), 20)
        memory = Memory(1 << 20)
        try:
            return await asyncio.gather(
                *(objects.get(url, Hold(memory), LIMIT) for url in urls), return_exceptions=True
            )
        finally:
            await objects.close()

    return asyncio.run(run())


def test_objects_are_read_with_the_credentials_of_the_environment(s3: Server) -> None:
    first, empty, *faults = get(
        "s3://pictures/a b.jpg",
        "s3://pictures/empty",
        "s3://pictures/big",
        "s3://pictures/none",
        "s3://locked/x",
        "s3://pictures",
        "s3://key:secret@pictures/x",
    )
    assert (first, empty) == (b"a picture", b"")
    codes = [fault.code for fault in faults if isinstance(fault, RowFault)]
    assert codes == [
        "fetch_too_large",
        "fetch_not_found",
        "fetch_forbidden",
        "fetch_refused",
        "fetch_refused",
    ]
    assert all("Credential=the-key/" in headers["authorization"] for _, headers in s3.seen)


def test_a_store_whose_extra_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gcsfs", None)
    (fault,) = get("gs://bucket/key")
    assert isinstance(fault, RowFault)
    assert fault.code == "fetch_refused"
    assert "pip install 'pg-embedding-sidecar[gs]'" in str(fault)
