"""`sidecar status`: what is embedded, pending and failed, and who works; live on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from sidecar.commands.place import Data, DatabaseUrl, migrated
from sidecar.commands.screen import make_console, make_table

if TYPE_CHECKING:
    import psycopg

EXAMPLE = "Example:  sidecar status --no-watch"
LOOK = 1.0
"""Shortest time between two looks, s; a look that takes longer is waited for as long again."""

TABLES = """
select target::text || '.' || quote_ident(source_column), state, rows, embedded, pending, failed,
  round(rate::numeric, 1)::float8, eta
from sidecar.status order by target::text, source_column
"""
WORKERS = """
select host, pid::text, device, round(items_per_second::numeric, 1)::float8,
  greatest(clock_timestamp() - last_heartbeat, interval '0'), model
from sidecar.workers order by host, pid
"""
FAILURES = """
select target::text || '.' || quote_ident(source_column), error, count(*)
from sidecar.failures group by 1, 2 order by 1, 2
"""


def status(
    watch: Annotated[
        bool | None,
        typer.Option(
            "--watch/--no-watch",
            help="Look again and again; on a terminal unless told otherwise.",
            show_default=False,
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Show what is embedded, pending and failed, and which sidecars work."""
    if watch is None:
        watch = sys.stdout.isatty()
    with migrated(database_url, data) as connection:
        if watch:
            follow(connection)
        else:
            make_console().print(look(connection))


def follow(connection: psycopg.Connection[Any]) -> None:
    """A live table until Ctrl-C."""
    try:
        with Live(look(connection), console=make_console(), auto_refresh=False) as live:
            while True:
                began = time.monotonic()
                shown = look(connection)
                live.update(shown, refresh=True)
                time.sleep(max(LOOK, time.monotonic() - began))
    except KeyboardInterrupt:
        return


def look(connection: psycopg.Connection[Any]) -> RenderableType:
    """Everything as it is now."""
    attached = connection.execute(TABLES).fetchall()
    workers = connection.execute(WORKERS).fetchall()
    failures = connection.execute(FAILURES).fetchall()
    parts: list[RenderableType] = []
    if attached:
        names = ["column", "state", "rows", "embedded", "pending", "failed", "per s", "eta"]
        parts.append(make_table(names, attached))
    else:
        parts.append(Text("No column is attached: SELECT sidecar.attach('table', 'column');"))
    parts.append(Text())
    if workers:
        parts.append(make_table(["sidecar", "pid", "device", "per s", "seen", "model"], workers))
    else:
        parts.append(Text("No sidecar is running: start one with `sidecar run`.", style="yellow"))
    if failures:
        parts += [Text(), make_table(["failures in", "error", "rows"], failures)]
    return Group(*parts)
