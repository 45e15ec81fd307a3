"""What travels through the stages: Claim -> Source -> Prepared -> Embedded, and Question ->
Prepared -> Answer.

Every record carries the one before it, so that any stage can give a row back with its lease.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

Modality = Literal["image", "text"]
Room = Literal["image", "text", "fetch"]
"""What claims are counted by: what must be fetched from elsewhere takes no other row's place."""
Vectors = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Claim:
    """A pending row under lease. `key` is the source row's primary key as jsonb text, such as
    '[42]'."""

    attachment: int
    key: str
    generation: int
    attempts: int
    lane: int
    token: int
    room: Room


@dataclass(frozen=True, slots=True)
class Question:
    """One text or image of a synchronous request; `position` counts from 0 inside the request."""

    request: int
    position: int


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One text or image that somebody in this process waits for; who gave up has cancelled it."""

    answer: asyncio.Future[Embedded]


Origin = Claim | Question | Call


@dataclass(frozen=True, slots=True)
class Source:
    """The content that is to be embedded: an image's bytes or a text. None stands for SQL NULL.

    While it is loaded: the text that refers to it, a path, a URL or an oid.
    """

    origin: Origin
    modality: Modality
    content: bytes | str | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model input: an image's pixels (3, size, size), or a text's token ids (context,) int64."""

    origin: Origin
    modality: Modality
    tensor: torch.Tensor
    truncated: bool = False
    others: tuple[torch.Tensor, ...] = ()
    """Further views of the same content, whose vectors are pooled with the first one's."""

    @property
    def views(self) -> tuple[torch.Tensor, ...]:
        """All that the model must look at."""
        return self.tensor, *self.others


@dataclass(frozen=True, slots=True)
class Embedded:
    """A unit-length float32 vector of shape (width,), or None where the content is NULL."""

    origin: Origin
    vector: np.ndarray[Any, np.dtype[np.float32]] | None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """An attached column, with the statements that the database wrote for its table."""

    id: int
    target: str
    modality: Modality
    source: Literal["inline", "url", "file", "large_object"]
    backfill: Literal["missing", "all", "done"]
    wants_index: bool
    owned: bool
    sizes: str
    load: str
    write: str
    feed: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a lease ends without a vector; `delay` is in seconds, `error` and `message` are for
    give_up."""

    claim: Claim
    outcome: Literal["release", "postpone", "give_up", "drop"]
    delay: float = 0.0
    error: str | None = None
    message: str | None = None
