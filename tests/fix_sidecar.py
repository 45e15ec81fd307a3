"""A live sidecar that answers questions from SQL, in a thread of its own; its encoder is a hash."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import uuid
from collections.abc import Iterator

import asyncpg
import numpy as np
import pytest

from sidecar.database import create_pool
from sidecar.records import Embedded, Question, Source
from sidecar.request import Requests
from sidecar.statements import statement

MODEL = "hash"
WIDTH = 768


def hash_vector(content: bytes | str | None) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A unit vector that depends on every byte of the content: equal only for equal contents."""
    data = content.encode() if isinstance(content, str) else content or b""
    seed = int.from_bytes(hashlib.sha256(data).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
    return vector / np.linalg.norm(vector)


class AnsweringSidecar:
    """Answers questions until stopped. `asked` are the contents that its model saw, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[bytes | str | None] = []
        self.delay = 0.0
        self.worker = uuid.uuid4()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Returns when questions are answered."""
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        """Leaves no worker row; harmless when called again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        pool = await create_pool(self.url, 4)
        bell = await asyncpg.connect(self.url)
        rung = asyncio.Event()
        await bell.add_listener("sidecar_request", lambda *_: rung.set())
        await pool.execute(statement("register_model"), MODEL, WIDTH)
        await pool.execute(statement("start_serving"), MODEL)
        requests = Requests(pool, MODEL)
        beating = asyncio.create_task(self._beat(pool, bell.get_server_pid()))
        stopping = asyncio.create_task(self._stop.wait())
        while not stopping.done():
            ringing = asyncio.create_task(rung.wait())
            await asyncio.wait({ringing, stopping}, timeout=0.2, return_when="FIRST_COMPLETED")
            ringing.cancel()
            rung.clear()
            await self._answer(requests, await requests.take())
        beating.cancel()
        await requests.refuse_all("The sidecar was stopped.")
        await pool.execute("delete from sidecar.worker where id = $1", self.worker)
        await bell.close()
        await pool.close()

    async def _beat(self, pool: asyncpg.Pool, backend_pid: int) -> None:
        while True:
            await pool.execute(
                statement("heartbeat"),
                *(self.worker, "test", os.getpid(), backend_pid, "cpu", MODEL, "0", 0.0),
            )
            self._ready.set()
            await asyncio.sleep(1)

    async def _answer(self, requests: Requests, sources: list[Source]) -> None:
        if sources and self.delay:
            await asyncio.sleep(self.delay)
        results: list[Embedded] = []
        for source in sources:
            assert isinstance(source.origin, Question)
            self.asked.append(source.content)
            if source.content == "":
                await requests.refuse(source.origin, "text_empty", "the text is empty")
            elif source.content == b"no picture":
                await requests.refuse(source.origin, "not_an_image", "the bytes are no picture")
            else:
                results.append(Embedded(source.origin, hash_vector(source.content)))
        await requests.answer(results)


@pytest.fixture
def answering_sidecar(database: str) -> Iterator[AnsweringSidecar]:
    """A live sidecar for `database`, ready."""
    sidecar = AnsweringSidecar(database)
    sidecar.start()
    yield sidecar
    sidecar.stop()
