"""`sidecar import`: fills a table from a folder of pictures, and waits until they are embedded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sidecar.commands.place import Data, DatabaseUrl, migrated
from sidecar.commands.screen import make_console, note, say, warn
from sidecar.errors import SettingsError, SidecarError

if TYPE_CHECKING:
    import psycopg

    from sidecar.commands.folder import Loaded, Target

EXAMPLE = "Example:  sidecar import ~/photos --table shop.photos --column picture"
NOBODY = "No sidecar is running; `sidecar run` embeds what waits."
LISTED = 20
"""Most files that are named one by one."""
LOOK = 0.3
"""Shortest time between two looks at the queue, s."""


def import_folder(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Read with its subfolders.", show_default=False)
    ],
    table: Annotated[
        str, typer.Option(help="Name as in SQL; made if it is not there.")
    ] = "pictures",
    column: Annotated[str, typer.Option(help="The bytea column of the picture.")] = "photo",
    name_column: Annotated[
        str,
        typer.Option(help="The text column of the file's name; names that are there are skipped."),
    ] = "name",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the rows are embedded.")
    ] = True,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Fill a table from a folder of pictures (jpg, png, gif, webp, bmp, tiff)."""
    from sidecar.commands.folder import find_pictures, find_target, load_folder, prepare_table

    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder: name one that holds pictures.")
    with migrated(database_url, data) as connection:
        target = find_target(connection, table, column, name_column)
        prepare_table(connection, target)
        with make_progress() as progress:
            total = sum(1 for _ in find_pictures(folder))
            bar = progress.add_task("Loading", total=total)
            loaded = load_folder(
                connection, target, folder, lambda files: progress.advance(bar, files)
            )
        report(loaded, target)
        if wait:
            wait_until_embedded(connection, target)
    if loaded.unreadable:
        raise SidecarError(
            f"{len(loaded.unreadable)} of {total} files could not be read: mend them, "
            "and run the same command again."
        )


def make_progress() -> Progress:
    """A bar on stderr, so that stdout holds the answer alone."""
    return Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=make_console(stderr=True),
        disable=not make_console(stderr=True).is_terminal,
    )


def report(loaded: Loaded, target: Target) -> None:
    """How many rows are new, and what could not be read."""
    known = f"; {loaded.known} were there already" if loaded.known else ""
    say(f"{loaded.added} pictures inserted into {target.table}{known}.")
    for line in loaded.unreadable[:LISTED]:
        warn(f"not read: {line}")
    if len(loaded.unreadable) > LISTED:
        warn(f"not read: {len(loaded.unreadable) - LISTED} more")


def wait_until_embedded(connection: psycopg.Connection[Any], target: Target) -> None:
    """A bar until nothing of the table is pending; returns at once where no sidecar works."""
    waiting, total = in_queue(connection, target), 0
    if waiting and not any_sidecar(connection):
        note(NOBODY)
        return
    with make_progress() as progress:
        bar = progress.add_task("Embedding", total=None)
        while waiting:
            if not any_sidecar(connection):
                progress.stop()
                note(NOBODY)
                return
            total = max(total, waiting)
            progress.update(bar, total=total, completed=total - waiting)
            began = time.monotonic()
            waiting = in_queue(connection, target)
            time.sleep(max(LOOK, time.monotonic() - began))
        progress.update(bar, total=total, completed=total)
    report_failures(connection, target)


def in_queue(connection: psycopg.Connection[Any], target: Target) -> int:
    """Rows of the target that wait; at least one while a backfill has yet to queue some."""
    row = connection.execute(
        "select greatest((select count(*) from sidecar.queue q where q.attachment = a.id),"
        " (a.backfill <> 'done')::int) from sidecar.attachment a"
        " where a.target = %s::regclass and sidecar.column_name(a.target, a.source_attnum) = %s"
        " and not a.paused",
        [target.regclass, target.column],
    ).fetchone()
    return int(row[0]) if row else 0


def any_sidecar(connection: psycopg.Connection[Any]) -> bool:
    """Whether somebody is there to do the work."""
    return connection.execute("select from sidecar.workers limit 1").fetchone() is not None


def report_failures(connection: psycopg.Connection[Any], target: Target) -> None:
    """The pictures that have no vector, by error code."""
    rows = connection.execute(
        "select error, count(*), min(message) from sidecar.failures"
        " where target = %s::regclass and source_column = %s group by error order by error",
        [target.regclass, target.column],
    ).fetchall()
    if not rows:
        say("All are embedded.")
    for error, count, message in rows:
        warn(f"{count} failed with {error}, such as: {message}")
    if rows:
        note("SELECT * FROM sidecar.failures; names the rows.")
