"""The routes: health, questions, figures, and their own description."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, UploadFile
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import to_json
from starlette.types import ASGIApp

from sidecar import __version__, metrics
from sidecar.backlog import Backlog
from sidecar.encoder import Encoder
from sidecar.http.answers import Alive, Answer, Answers, Ready, Text, Texts
from sidecar.http.docs import page
from sidecar.http.guard import GONE, OPEN, Guard
from sidecar.http.problems import MEDIA_TYPE, SCHEMA, TITLES, Problem, tell_in_problems
from sidecar.presence import Presence
from sidecar.records import Embedded, Modality
from sidecar.settings import Settings

ANY = (401, 403, 408, 421, 503)
ASKING = (*ANY, 400, 413, 422, 429, 500, 504)


def create_app(settings: Settings, presence: Presence, host: str) -> ASGIApp:
    """The application for one sidecar that listens on `host`."""
    app = FastAPI(
        title="sidecar",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    add_health(app, presence)
    add_questions(app, settings, presence)
    add_figures(app, presence)
    add_description(app, with_token=settings.token is not None)
    tell_in_problems(app)
    return Guard(app, settings, host)


def add_health(app: FastAPI, presence: Presence) -> None:
    @app.get("/healthz", summary="Whether the process answers", responses=problems(421))
    async def healthz() -> Alive:
        return Alive()

    @app.get(
        "/readyz",
        summary="Whether the model is warm and the database reached",
        response_model=Ready,
        responses=problems(421, 503),
    )
    async def readyz() -> Response:
        if reasons := presence.reasons():
            said = f"The sidecar is not ready: {', '.join(reasons)}."
            raise Problem(503, "not_ready", said, {"retry-after": "5"}, reasons=reasons)
        assert presence.model is not None
        assert presence.heartbeat_age is not None
        model = presence.model
        return json(
            status="ready",
            model=model.name,
            width=model.width,
            device=model.device,
            heartbeat_age_seconds=round(presence.heartbeat_age, 3),
        )


def add_questions(app: FastAPI, settings: Settings, presence: Presence) -> None:
    most = min(settings.http_texts, settings.http_queue)

    @app.post(
        "/embed/text",
        summary="The vector of a text",
        response_model=Answer,
        responses=problems(*ASKING),
    )
    async def embed_text(request: Request, question: Text) -> Response:
        return one(*await answer(request, presence, "text", [question.text]))

    @app.post(
        "/embed/text/batch",
        summary=f"The vectors of up to {most} texts",
        response_model=Answers,
        responses=problems(*ASKING),
    )
    async def embed_texts(request: Request, question: Texts) -> Response:
        if len(question.texts) > most:
            raise Problem(
                413,
                "batch_too_large",
                f"A request may have at most {most} texts and this has {len(question.texts)}: send"
                " several, or raise SIDECAR_HTTP_TEXTS.",
            )
        model, embedded = await answer(request, presence, "text", question.texts)
        return json(
            embeddings=[vector_of(result) for result in embedded],
            model=model.name,
            width=model.width,
            truncated=[result.truncated for result in embedded],
        )

    @app.post(
        "/embed/image",
        summary="The vector of a picture: JPEG, PNG, WebP, GIF, TIFF or BMP",
        response_model=Answer,
        responses=problems(*ASKING, 415),
    )
    async def embed_image(request: Request, file: UploadFile) -> Response:
        content = await file.read()
        return one(*await answer(request, presence, "image", [content]))


def add_figures(app: FastAPI, presence: Presence) -> None:
    backlog = Backlog()

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **problems(*ANY),
        },
    )
    async def figures() -> Response:
        await backlog.refresh(presence.pool)
        text = generate_latest(metrics.REGISTRY)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


def add_description(app: FastAPI, *, with_token: bool) -> None:
    """/openapi.json and /docs, neither of which is part of what they describe."""
    described = describe(app, with_token=with_token)
    html, policy = page(described)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return json(**described)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        headers = {"content-security-policy": policy}
        return Response(html, media_type="text/html", headers=headers)


async def answer(
    request: Request, presence: Presence, modality: Modality, contents: Sequence[str | bytes]
) -> tuple[Encoder, list[Embedded]]:
    """The vectors, unless the client goes away first. Raises the faults of questions."""
    model, calls = presence.expect_calls()
    asking = asyncio.ensure_future(calls.ask(modality, contents))
    leaving = asyncio.ensure_future(left(request))
    try:
        await asyncio.wait({asking, leaving}, return_when="FIRST_COMPLETED")
        if not asking.done():
            raise Problem(GONE, "gone", "The client went away.")
        return model, asking.result()
    finally:
        asking.cancel()
        leaving.cancel()


async def left(request: Request) -> None:
    """Returns when the client has gone; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def one(model: Encoder, embedded: list[Embedded]) -> Response:
    """The answer with one vector."""
    (result,) = embedded
    return json(
        embedding=vector_of(result),
        model=model.name,
        width=model.width,
        truncated=result.truncated,
    )


def vector_of(result: Embedded) -> list[float]:
    """The numbers of a vector that is there."""
    assert result.vector is not None
    numbers: list[float] = result.vector.tolist()
    return numbers


def json(**members: Any) -> Response:
    """A JSON object."""
    return Response(to_json(members), media_type="application/json")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem documents of a route, for its description."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": TITLES[status], "content": {MEDIA_TYPE: schema}}
        for status in sorted(set(statuses))
    }


def describe(app: FastAPI, *, with_token: bool) -> dict[str, Any]:
    """The OpenAPI document, with the problems and, where one is needed, the token."""
    described = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = described.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = SCHEMA
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if with_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in described["paths"].items():
            for operation in operations.values():
                if path not in OPEN:
                    operation["security"] = [{"token": []}]
    return described
