"""What clients send and get, for the description at /openapi.json and to check what comes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

WORDS: dict[str, Any] = {"pattern": r"\S", "minLength": 1}
"""White space alone has no vector. It is said here and refused with the rows' own code."""


class Text(BaseModel):
    """One text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"text": "a cat"}})

    text: str = Field(strict=True, json_schema_extra=WORDS)


class Texts(BaseModel):
    """Several texts; their vectors come in the same order."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"texts": ["a cat", "a dog"]}}
    )

    texts: list[str] = Field(
        strict=True, min_length=1, json_schema_extra={"items": {"type": "string", **WORDS}}
    )


class Answer(BaseModel):
    """One vector."""

    embedding: list[float] = Field(description="Of unit length")
    model: str
    width: int = Field(description="Numbers in a vector")
    truncated: bool = Field(description="Whether the text was longer than the model reads")


class Answers(BaseModel):
    """Several vectors."""

    embeddings: list[list[float]] = Field(description="Each of unit length")
    model: str
    width: int = Field(description="Numbers in a vector")
    truncated: list[bool] = Field(description="Whether that text was longer than the model reads")


class Alive(BaseModel):
    """The process answers."""

    status: str = "alive"


class Ready(BaseModel):
    """Questions are answered and rows embedded."""

    status: str = "ready"
    model: str
    width: int
    device: str
    heartbeat_age_seconds: float = Field(
        description="Seconds since the database had a sign of this sidecar"
    )
