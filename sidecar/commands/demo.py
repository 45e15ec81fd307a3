"""`sidecar demo`: the whole way from INSERT to a right search result, on a PostgreSQL of its own.

Everything in it is what an application would do too: a table, sidecar.attach, plain INSERTs, and
SELECTs.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.commands.importing import make_progress
from sidecar.commands.place import open_connection
from sidecar.commands.screen import make_console, say, show_answer, show_sql
from sidecar.commands.searching import ask

if TYPE_CHECKING:
    import psycopg

    from sidecar.commands.child import Child
    from sidecar.commands.folder import Target

EXAMPLE = "Example:  sidecar demo --data /tmp/sidecar-demo"
TABLE = "pictures"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOK = 0.1
QUESTIONS = (
    """SELECT name FROM pictures
ORDER BY photo_embedding <=> sidecar.embed_text('a red circle') LIMIT 3;""",
    """SELECT name FROM pictures
ORDER BY photo_embedding
  <=> sidecar.embed_text('a blue star on a yellow background') LIMIT 3;""",
    """SELECT (item).name, round(distance::numeric, 3) AS distance
FROM sidecar.search(NULL::pictures, 'a large green heart', k => 3);""",
    """-- the pictures most like one of them
SELECT (item).name, round(distance::numeric, 3) AS distance
FROM sidecar.similar(NULL::pictures, k => 3, key =>
  (SELECT jsonb_build_array(id) FROM pictures
   WHERE name = 'pink-moon-on-white-078.jpg'));""",
)


def demo(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where its data lives.", file_okay=False),
    ] = None,
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the answers.", show_default=False)
    ] = False,
) -> int:
    """Show the whole way: from INSERT to a right search result.

    Starts a PostgreSQL and a sidecar of its own, inserts drawings, and asks for
    some of them. Ctrl-C ends it; the next start takes up where it was.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        play(data, leave)
    except KeyboardInterrupt:
        say("Stopped. `sidecar demo` takes up where it was.")
    return 0


@contextmanager
def step(doing: str) -> Iterator[None]:
    """A line with a spinner while something happens, and with its time when it is done."""
    console = make_console()
    began = time.monotonic()
    with console.status(doing) if console.is_terminal else quiet():
        yield
    say(f"{doing:<62} {time.monotonic() - began:5.1f} s")


@contextmanager
def quiet() -> Iterator[None]:
    """In the place of a spinner."""
    yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """A second signal does not cut short what tidies up after the first."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def play(data: Path | None, leave: bool) -> None:
    """From nothing to answers; ends when it is interrupted, or after the answers."""
    from sidecar import embedded

    where = (data or embedded.default_data()).expanduser().resolve()
    server: embedded.Server | None = None
    try:
        with step("Starting PostgreSQL"):
            server = embedded.start(where)
        with step("Migrating the database: the schema sidecar, pgvector"):
            migrate_quietly(server.url)
        present(server.url, server.psql, where, leave)
    finally:
        if server is not None:
            with undisturbed():
                server.stop()


def migrate_quietly(url: str) -> None:
    """What `sidecar migrate` does."""
    from sidecar import migrate

    migrate.upgrade(url)


def present(url: str, psql: str, where: Path, leave: bool) -> None:
    """With a sidecar running: pictures, vectors, answers."""
    from sidecar.commands.child import start_child
    from sidecar.commands.folder import find_target, prepare_table
    from sidecar.commands.gallery import draw_gallery

    child = start_child(url, where / "sidecar.log")
    try:
        pictures = where / "pictures"
        with step("Drawing pictures"):
            draw_gallery(pictures)
        with open_connection(url) as connection:
            target = find_target(connection, TABLE, "photo", "name")
            prepare_table(connection, target)
            fill(connection, target, pictures, child)
            say()
            for question in QUESTIONS:
                show_sql(question)
                say()
                show_answer(*ask(connection, question))
                say()
        tell(psql, pictures)
        if not leave:
            say("The sidecar goes on: what you insert is embedded at once. Ctrl-C ends it.")
            child.watch()
    finally:
        with undisturbed():
            child.stop()


def fill(connection: psycopg.Connection[Any], target: Target, pictures: Path, child: Child) -> None:
    """Inserts what is not there yet, and waits until a live sidecar has embedded all."""
    from sidecar.commands.folder import load_folder

    with step("Inserting the pictures into the table `pictures`"):
        loaded = load_folder(connection, target, pictures)
    with step("Starting the sidecar: loading the model"):
        while not serving(connection, child.pid):
            child.expect_alive()
            time.sleep(LOOK)
    began = time.monotonic()
    with make_progress() as progress:
        bar = progress.add_task("Embedding", total=None)
        while True:
            embedded, failed, rows = counts(connection)
            progress.update(bar, total=rows, completed=embedded + failed)
            if embedded + failed >= rows:
                break
            child.expect_alive()
            time.sleep(LOOK)
    seconds = time.monotonic() - began
    done = f"{embedded} of {rows} pictures have their vectors ({loaded.added} are new)"
    say(f"{done:<62} {seconds:5.1f} s")


def serving(connection: psycopg.Connection[Any], pid: int) -> bool:
    """Whether our own sidecar has said that it lives."""
    found = connection.execute("select from sidecar.workers where pid = %s", [pid]).fetchone()
    return found is not None


def counts(connection: psycopg.Connection[Any]) -> tuple[int, int, int]:
    """Embedded, failed and all rows."""
    row = connection.execute(
        "select count(photo_embedding) filter (where not pending),"
        " (select count(*) from sidecar.failures where target = 'pictures'::regclass), count(*)"
        " from (select photo_embedding, exists (select from sidecar.queue q"
        " where q.target = 'pictures'::regclass and q.key = jsonb_build_array(p.id)) as pending"
        " from pictures p where photo is not null) as p"
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def tell(psql: str, pictures: Path) -> None:
    """What it was, and how to go on by hand."""
    from sidecar.bundled import NOTICE

    say(NOTICE)
    say("On a database of yours, `sidecar run` takes EVA02-CLIP, which knows photographs.")
    say()
    say(f"The pictures are in {pictures}. Go on by hand:")
    say()
    say(f"  {psql}")
    say()
