"""Exception -> one line for a person that ends with the next step."""

from __future__ import annotations

import sys
from typing import Any

from sidecar.errors import SidecarError

ATTACHED = "`sidecar status` lists the tables that are attached"
REACH = "check DATABASE_URL or --database-url, and that the server runs"


def explain(error: BaseException) -> str:
    """What went wrong and what to do next; a database's own hint where it gave one."""
    original = getattr(error, "orig", None)  # SQLAlchemy wraps the driver's
    if isinstance(original, BaseException):
        return explain(original)
    if isinstance(error, SidecarError):
        return str(error)
    return from_database(error) or from_system(error) or from_us(error)


def from_database(error: BaseException) -> str | None:
    """The message of a psycopg or asyncpg error; these are imported by now if they raised it."""
    psycopg: Any = sys.modules.get("psycopg")
    asyncpg: Any = sys.modules.get("asyncpg")
    if psycopg and isinstance(error, psycopg.Error):
        message, hint = error.diag.message_primary, error.diag.message_hint
        unreachable = message is None and isinstance(error, psycopg.OperationalError)
    elif asyncpg and isinstance(error, asyncpg.PostgresError):
        message, hint = getattr(error, "message", None), getattr(error, "hint", None)
        unreachable = isinstance(
            error, (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
        )
    else:
        return None
    if psycopg and isinstance(error, psycopg.errors.UndefinedTable) and hint is None:
        hint = ATTACHED
    if message is None:  # libpq's own; what it adds after a tab is for a person at the server
        lines = str(error).splitlines()
        message = " ".join(line for line in lines if not line.startswith("\t"))
    return sentences(message, hint or (REACH if unreachable else None))


def from_system(error: BaseException) -> str | None:
    """A file that cannot be read, a disk that is full, a network that is down."""
    if not isinstance(error, OSError):
        return None
    reason = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    return sentences(f"{where}{reason}", None if error.filename else REACH)


def from_us(error: BaseException) -> str:
    """A mistake of the program's own."""
    return sentences(
        f"{type(error).__name__}: {error}", "`sidecar --debug COMMAND ...` shows where it happened"
    )


def sentences(message: str, step: str | None) -> str:
    """`message` and the next step, as sentences on one line."""
    line = " ".join(message.split()).rstrip(".")
    end = "" if line.endswith(("?", "!", ";")) else "."
    return f"{line}{end} {step[0].upper()}{step[1:]}" if step else line
