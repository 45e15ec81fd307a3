"""The synchronous questions: requests in the database -> Source, and Embedded -> replies.

A request of several texts is answered when all its vectors are there; texts that were asked before
need no model. No text ever goes into a log line or a message.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

import asyncpg

from sidecar import metrics
from sidecar.database import Vector, binary_of
from sidecar.records import Embedded, Modality, Question, Source
from sidecar.statements import statement

AT_ONCE = 256
"""Most requests that one look takes."""
FORGET_SECONDS = 60.0
"""Age, s, after which a request is forgotten here: whoever asked has given up long ago."""


@dataclass(slots=True)
class _Request:
    """A request under way; all lists are by position."""

    modality: Modality
    vectors: list[bytes | None]
    digests: list[bytes | None]
    waited: float
    """Seconds from its asking until it was taken."""
    taken: float = field(default_factory=time.monotonic)
    wanted: dict[int, list[int]] = field(default_factory=dict)
    """Position that was sent to the model -> all positions with the same content."""


class Requests:
    """The requests that this sidecar works on, for the one model that it serves."""

    def __init__(self, pool: asyncpg.Pool, model: str) -> None:
        self._pool = pool
        self._model = model
        self._open: dict[int, _Request] = {}

    async def take(self) -> list[Source]:
        """What waiting requests ask the model; those that need no model are answered here.

        One that is still open is kept from other sidecars for another 2 s and not taken twice.
        """
        self._forget_old()
        rows = await self._pool.fetch(statement("take_requests"), self._model, AT_ONCE)
        taken: dict[int, _Request] = {}
        sources: list[Source] = []
        for row in rows:
            number = row["id"]
            if number in self._open:
                continue
            if row["texts"] is None:
                taken[number], questions = _open_image(number, row["image"], row["waited"])
            else:
                taken[number], questions = _open_texts(number, row)
                misses = sum(map(len, taken[number].wanted.values()))
                metrics.CACHE_MISSES.inc(misses)
                metrics.CACHE_HITS.inc(sum(vector is not None for vector in row["known"]))
            sources.extend(questions)
        await self._reply({n: request for n, request in taken.items() if not request.wanted})
        self._open.update((n, request) for n, request in taken.items() if request.wanted)
        return sources

    async def answer(self, results: list[Embedded]) -> None:
        """Takes vectors of questions in; commits the replies of requests that these complete.

        After an error of the database the same call can be made again.
        """
        complete: dict[int, _Request] = {}
        for result in results:
            question = result.origin
            assert isinstance(question, Question)
            request = self._open.get(question.request)
            if request is None:
                continue
            # Wrapped, for asyncpg takes a bare array inside an array for another dimension.
            vector = None if result.vector is None else binary_of(result.vector)
            for position in request.wanted.pop(question.position, []):
                request.vectors[position] = vector
            if not request.wanted:
                complete[question.request] = request
        await self._reply(complete)
        for number in complete:
            self._open.pop(number, None)

    async def refuse(self, question: Question, code: str, message: str) -> None:
        """Ends the whole request with an error.

        The code `unavailable` blames the service, any other code the question.
        """
        if self._open.pop(question.request, None) is not None:
            metrics.count_request("sql", "unavailable" if code == "unavailable" else "refused")
            await self._pool.execute(statement("refuse_request"), question.request, code, message)

    async def refuse_all(self, message: str) -> None:
        """Ends every open request because of the service: it stops, or its model is gone."""
        for number in list(self._open):
            await self.refuse(Question(number, 0), "unavailable", message)

    async def _reply(self, requests: dict[int, _Request]) -> None:
        items = [
            (number, position, vector, digest, request.modality)
            for number, request in requests.items()
            for position, (vector, digest) in enumerate(
                zip(request.vectors, request.digests, strict=True)
            )
        ]
        if items:
            columns = [list(column) for column in zip(*items, strict=True)]
            await self._pool.execute(statement("reply"), *columns, self._model)
        for request in requests.values():
            seconds = request.waited + time.monotonic() - request.taken
            metrics.count_request("sql", "answered", seconds)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - FORGET_SECONDS
        for number in [n for n, request in self._open.items() if request.taken < oldest]:
            del self._open[number]
            metrics.count_request("sql", "abandoned")


def _open_image(number: int, image: bytes, waited: float) -> tuple[_Request, list[Source]]:
    request = _Request("image", [None], [hashlib.sha256(image).digest()], waited, wanted={0: [0]})
    return request, [Source(Question(number, 0), "image", image)]


def _open_texts(number: int, row: asyncpg.Record) -> tuple[_Request, list[Source]]:
    texts: list[str | None] = row["texts"]
    known: list[Vector | None] = row["known"]
    vectors = [None if vector is None else binary_of(vector) for vector in known]
    request = _Request("text", vectors, [None] * len(texts), row["waited"])
    first: dict[str, int] = {}
    for position, (text, vector) in enumerate(zip(texts, known, strict=True)):
        if text is None or vector is not None:
            continue
        request.wanted.setdefault(first.setdefault(text, position), []).append(position)
        request.digests[position] = hashlib.sha256(text.encode()).digest()
    sources = [Source(Question(number, position), "text", text) for text, position in first.items()]
    return request, sources
