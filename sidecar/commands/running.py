"""`sidecar run`: loads the model, then serves until SIGTERM or Ctrl-C; a second ends it at once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar import log as events
from sidecar.commands.place import (
    Data,
    DatabaseUrl,
    open_connection,
    place,
    require_schema,
    settings_with,
)
from sidecar.settings import Settings

if TYPE_CHECKING:
    from sidecar.model import Model
    from sidecar.presence import Presence

EXAMPLE = "Example:  DATABASE_URL=postgresql://postgres@localhost/shop sidecar run"
IMMEDIATE = 130

log = logging.getLogger("sidecar.run")


def run(
    database_url: DatabaseUrl = None,
    data: Data = None,
    with_parent: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Stop at the end of stdin.", hidden=True)
    ] = False,
) -> None:
    """Embed rows and answer questions until stopped (SIGTERM or Ctrl-C)."""
    settings = settings_with(database_url)
    events.set_up(settings.log_format, settings.log_level)
    with place(settings, data) as found:
        expect_schema(found.url)
        asyncio.run(serve_until_stopped(found.url, settings, with_parent))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread may be in the middle of PyTorch, and would hold the exit up


def expect_schema(url: str) -> None:
    """Fails now rather than after the model is loaded; a database that is away is waited for."""
    import psycopg

    try:
        with open_connection(url) as connection:
            require_schema(connection)
    except psycopg.OperationalError as error:
        if error.sqlstate is not None or "password" in str(error):
            raise
        log.warning("database_away", extra={"error": " ".join(str(error).split())})


async def serve_until_stopped(url: str, settings: Settings, with_parent: bool) -> None:
    """Loads the model and serves; may be stopped while it loads."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def interrupted() -> None:
        if stop.is_set():
            os._exit(IMMEDIATE)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, interrupted)
    if with_parent:
        watch_stdin(loop, stop)

    from sidecar.presence import Presence

    presence = Presence()
    async with over_http(settings, presence):
        model = await until(stop, load(settings, loop))
        if model is None:
            log.info("stopped")
            return
        from sidecar.service import serve

        await serve(url, model, settings, stop, presence=presence)


def over_http(settings: Settings, presence: Presence) -> AbstractAsyncContextManager[int | None]:
    """Answers HTTP in the block; where it is off, what it needs is not even imported."""
    if settings.http == "off":
        return nullcontext()
    from sidecar.http.server import answering

    return answering(settings, presence)


def watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stops at the end of stdin: whoever holds its other end has gone, however it went."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, daemon=True).start()


def load(settings: Settings, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Model]:
    """The model, both towers warm, from a thread that nobody has to wait for."""
    loaded: asyncio.Future[Model] = loop.create_future()

    def settle(model: Model | None, error: Exception | None) -> None:
        if loaded.done():
            return
        if error is not None:
            loaded.set_exception(error)
        elif model is not None:
            loaded.set_result(model)

    def work() -> None:
        model, problem = None, None
        try:
            from sidecar.model import Model

            hush_downloads()
            model = Model.load(settings)
            model.warm_up()
        except Exception as error:
            problem = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, model, problem)

    log.info("loading_model", extra={"model": settings.model_id})
    threading.Thread(target=work, daemon=True).start()
    return loaded


def hush_downloads() -> None:
    """Keeps the hub's retries out of a log of one line an event, and its bars but on terminals."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        disable_progress_bars()


async def until(stop: asyncio.Event, loaded: asyncio.Future[Model]) -> Model | None:
    """The loaded model, or None once `stop` is set."""
    stopped = asyncio.ensure_future(stop.wait())
    either: list[asyncio.Future[Any]] = [loaded, stopped]
    await asyncio.wait(either, return_when="FIRST_COMPLETED")
    stopped.cancel()
    if not loaded.done():
        loaded.cancel()
        return None
    model = loaded.result()
    details = {"model": model.name, "device": model.device, "precision": model.precision}
    log.info("model_loaded", extra=details)
    if model.notice:
        log.warning("notice", extra={"notice": model.notice})
    return model
