"""What goes wrong -> a problem document (RFC 9457). A document never holds what was asked."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from sidecar.calls import PositionedFault
from sidecar.errors import Busy, RowFault, ServiceFault

MEDIA_TYPE = "application/problem+json"
UNAVAILABLE_PAUSE = 5
"""Seconds after which to come again while the service is not there."""

STATUS = {
    "not_an_image": 422,
    "image_truncated": 422,
    "image_unsupported": 415,
    "image_too_large": 413,
    "text_empty": 422,
    "prepare_failed": 422,
    "model_failed": 500,
}
"""Error codes of rows, which a question can have as well -> HTTP's own."""

TITLES = {
    400: "The request cannot be read",
    401: "A token is needed",
    403: "Refused",
    404: "There is nothing here",
    405: "Not with this method",
    408: "The request did not come in time",
    413: "Too large",
    415: "This kind of content is not understood",
    421: "Not this server's name",
    422: "This has no vector",
    429: "Too much is asked at a time",
    500: "The sidecar failed",
    503: "Not now",
    504: "No answer in time",
}

SCHEMA = {
    "title": "Problem",
    "description": "What went wrong, as RFC 9457 has it.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "urn:sidecar:error: and the code"},
        "title": {"type": "string"},
        "status": {"type": "integer", "description": "HTTP's status again"},
        "detail": {"type": "string", "description": "What happened, and what to do next"},
        "code": {
            "type": "string",
            "description": "The same as in sidecar.failures, or one of HTTP's own",
        },
        "position": {"type": "integer", "description": "Which text of a batch, from 0"},
        "reasons": {"type": "array", "items": {"type": "string"}},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"where": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


class Problem(HTTPException):
    """A refusal with its code; `more` are members of the document beyond the usual ones."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code
        self.more = more


def document(problem: Problem) -> Response:
    """The response that tells a client of the problem."""
    body = {
        "type": f"urn:sidecar:error:{problem.code}",
        "title": TITLES.get(problem.status_code, "Refused"),
        "status": problem.status_code,
        "detail": problem.detail,
        "code": problem.code,
        **problem.more,
    }
    return Response(to_json(body), problem.status_code, problem.headers, MEDIA_TYPE)


def of_fault(fault: Exception) -> Problem:
    """The problem that a fault of a question or of the service is to a client."""
    match fault:
        case Problem():
            return fault
        case PositionedFault():
            status = STATUS.get(fault.code, 500)
            return Problem(status, fault.code, str(fault), position=fault.position)
        case RowFault():
            return Problem(STATUS.get(fault.code, 500), fault.code, str(fault))
        case Busy():
            return Problem(429, "busy", str(fault), {"retry-after": str(fault.retry_after)})
        case ServiceFault():
            return Problem(503, "unavailable", str(fault), {"retry-after": str(UNAVAILABLE_PAUSE)})
        case _:
            return Problem(500, "internal", "The sidecar failed; its log says where.")


def of_http(error: HTTPException) -> Problem:
    """The framework's own refusals: no such path, no such method, a body that cannot be parsed."""
    if isinstance(error, Problem):
        return error
    code, detail = {
        404: ("not_found", "There is nothing at this path; GET /docs lists what there is."),
        405: ("method_not_allowed", "This path has other methods; GET /docs lists them."),
    }.get(error.status_code, ("request_invalid", "The body cannot be read as what it says it is."))
    return Problem(error.status_code, code, detail, dict(error.headers or {}))


def of_validation(error: RequestValidationError) -> Problem:
    """What of the body is not as it should be: the places alone, never the values."""
    errors = [
        {
            "where": ".".join(_printable(place) for place in problem["loc"]),
            "detail": problem["msg"],
        }
        for problem in error.errors()[:20]
    ]
    detail = "The request is not as it should be (see errors); GET /docs shows examples."
    return Problem(422, "request_invalid", detail, errors=errors)


def _printable(place: object) -> str:
    return str(place)[:60].encode("ascii", "replace").decode()


def tell_in_problems(app: FastAPI) -> None:
    """Every error of the application becomes a problem document."""

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return document(of_http(error))

    async def validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return document(of_validation(error))

    async def fault(_: Request, error: Exception) -> Response:
        return document(of_fault(error))

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(RowFault, fault)
    app.add_exception_handler(ServiceFault, fault)
