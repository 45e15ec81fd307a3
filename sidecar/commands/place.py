"""Which database a command works on: the one that was named, or the embedded PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.commands.screen import note
from sidecar.errors import ServiceFault, SettingsError
from sidecar.settings import Settings, read_settings

if TYPE_CHECKING:
    import psycopg

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="postgresql://user:password@host:5432/database; else DATABASE_URL; "
        "else the embedded PostgreSQL.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Where the embedded PostgreSQL keeps its data.",
        file_okay=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Place:
    """A database that a command may use."""

    url: str
    psql: str | None
    """Command line that opens psql there; None where the database is not the embedded one."""


def settings_with(database_url: str | None) -> Settings:
    """The environment's settings, with the URL of the call if there is one."""
    if database_url is None:
        return read_settings()
    try:
        named = read_settings({"DATABASE_URL": database_url})
    except SettingsError as error:
        raise SettingsError(str(error).replace("DATABASE_URL", "--database-url")) from None
    return replace(read_settings(), database_url=named.database_url)


@contextmanager
def place(settings: Settings, data: Path | None) -> Iterator[Place]:
    """The database of the settings; without any, the embedded PostgreSQL is started or joined."""
    if settings.database_url and data:
        raise SettingsError("--data is for the embedded PostgreSQL: give either it or a URL.")
    if settings.database_url:
        yield Place(settings.database_url, None)
        return
    from sidecar import embedded

    where = data or embedded.default_data()
    note(f"{'' if data else 'No database URL. '}Using the embedded PostgreSQL in {where}")
    with embedded.start(where) as server:
        yield Place(server.url, server.psql)


def open_connection(url: str) -> psycopg.Connection[Any]:
    """An autocommit connection; no prepared statements, for a pooler would mix them up."""
    import psycopg

    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=10,
        application_name="sidecar command",
        prepare_threshold=None,
    )


@contextmanager
def migrated(database_url: str | None, data: Path | None) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the call's database, which must hold the schema `sidecar`."""
    with (
        place(settings_with(database_url), data) as found,
        open_connection(found.url) as connection,
    ):
        require_schema(connection)
        yield connection


def require_schema(connection: psycopg.Connection[Any]) -> None:
    """Raises ServiceFault where the database was never migrated."""
    found = connection.execute("select to_regclass('sidecar.pending') is not null").fetchone()
    if found != (True,):
        raise ServiceFault(
            "This database has no schema sidecar yet: run `sidecar migrate` first, "
            "with the same database."
        )
