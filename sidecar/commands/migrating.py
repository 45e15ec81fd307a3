"""`sidecar migrate`: brings a database to the current schema, or back."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from sidecar.commands.place import Data, DatabaseUrl, open_connection, place, settings_with
from sidecar.commands.screen import note, say
from sidecar.errors import SettingsError

EXAMPLE = (
    "Examples:  sidecar migrate --database-url postgresql://postgres@localhost/shop\n\n"
    "sidecar migrate --sql > upgrade.sql"
)
NOTICES = logging.getLogger("sqlalchemy.dialects.postgresql")


class Notices(logging.Handler):
    """Keeps the database's notices; that something is there already is none."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """SQLAlchemy logs ('%s: %s', severity, message)."""
        severity, message = record.args if isinstance(record.args, tuple) else ("", "")
        if severity in ("NOTICE", "WARNING") and not str(message).endswith(", skipping"):
            self.lines.append(str(message))


def migrate(
    database_url: DatabaseUrl = None,
    data: Data = None,
    script: Annotated[
        bool, typer.Option("--sql", help="Print the SQL of the whole upgrade; connect to nothing.")
    ] = False,
    down_to: Annotated[
        str | None,
        typer.Option(
            "--down-to",
            metavar="REVISION",
            help="Go back; `base` removes the schema sidecar, and keeps your tables and vectors.",
        ),
    ] = None,
) -> None:
    """Bring a database to the current schema. Needs no superuser."""
    from sidecar import migrate as schema

    if script:
        if down_to:
            raise SettingsError("--sql prints the upgrade: leave --down-to away.")
        schema.upgrade_script(sys.stdout)
        return
    with place(settings_with(database_url), data) as found:
        before = revision(found.url)
        with notices() as heard:
            if down_to:
                schema.downgrade(found.url, down_to)
            else:
                schema.upgrade(found.url)
        for line in heard.lines:
            note(f"note: {line}")
        say(report(before, revision(found.url)))


def report(before: str | None, after: str | None) -> str:
    """What a migration did, in one line."""
    if after is None:
        return "The schema sidecar is gone; your tables and their vectors are as they were."
    if before == after:
        return f"The schema sidecar is at revision {after}, as before; functions are renewed."
    come_from = f"was at revision {before}" if before else "is new"
    return f"The schema sidecar {come_from}, and is at revision {after} now."


def revision(url: str) -> str | None:
    """The revision that a database is at; None before the first migration."""
    with open_connection(url) as connection:
        known = connection.execute("select to_regclass('sidecar.alembic_version')").fetchone()
        if known == (None,):
            return None
        row = connection.execute("select version_num from sidecar.alembic_version").fetchone()
        return str(row[0]) if row else None


@contextmanager
def notices() -> Iterator[Notices]:
    """Collects what the database says meanwhile."""
    handler, level, passed_on = Notices(), NOTICES.level, NOTICES.propagate
    NOTICES.addHandler(handler)
    NOTICES.setLevel(logging.INFO)
    NOTICES.propagate = False
    try:
        yield handler
    finally:
        NOTICES.removeHandler(handler)
        NOTICES.setLevel(level)
        NOTICES.propagate = passed_on
