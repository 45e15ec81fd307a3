"""One sidecar from start to stop: checks the database, then keeps the pipeline, the bell and the
sweep running.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg

from sidecar import __version__, metrics
from sidecar.bell import Bell
from sidecar.database import RETRYABLE, connect, create_pool, persistently
from sidecar.encoder import Encoder
from sidecar.errors import ServiceFault
from sidecar.pipeline import Pipeline
from sidecar.presence import Presence
from sidecar.settings import Settings
from sidecar.signals import Signal, silent
from sidecar.statements import statement
from sidecar.sweep import Heart, Indexes, feed, tidy

log = logging.getLogger("sidecar.service")

HEARTBEAT = 2.0
FEED = 0.5
INDEX = 2.0
SETTLE = 0.25
# Of the 10 s in which a sidecar must be gone after SIGTERM: for what the model has, for farewell.
DRAIN, FAREWELL = 6.0, 2.0
STOPPED = "The sidecar stopped; ask again."


async def serve(
    url: str,
    model: Encoder,
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[], None] = lambda: None,
    signal: Signal = silent,
    presence: Presence | None = None,
) -> None:
    """Runs until `stop` is set; then finishes the batch in the model and gives the other leases
    back.

    Raises ServiceFault where the database is not migrated or its columns do not fit the model.
    """
    pool = await persistently(partial(create_pool, url, 8), "connect")
    try:
        await persistently(partial(check_database, pool, model), "start")
        bell = Bell(partial(connect, url), pool)
        pipeline = Pipeline(pool, bell, model, settings, signal)
        heart = Heart(pool, model.name, model.device)
        await persistently(partial(heart.beat, None, 0.0), "heartbeat")
        presence = presence or Presence()
        presence.model, presence.pool = model, pool
        metrics.describe(__version__, model.name, model.device)
        presence.beat()
        await _run(url, pool, bell, pipeline, heart, settings, stop, ready, presence)
    finally:
        try:
            async with asyncio.timeout(1):
                await pool.close()
        except TimeoutError:
            pool.terminate()


async def check_database(pool: asyncpg.Pool, model: Encoder) -> None:
    """Registers the model, and takes up attachments that were made before any sidecar ran."""
    if await pool.fetchval("select to_regclass('sidecar.pending')") is None:
        raise ServiceFault("This database has no schema sidecar yet: run `sidecar migrate` first.")
    await pool.execute(statement("register_model"), model.name, model.width)
    await pool.execute(statement("stop_serving"), model.name)
    await pool.execute(statement("start_serving"), model.name)
    misfits = await pool.fetch(statement("misfits"), model.name, model.width)
    for misfit in misfits:
        column = f"{misfit['target']}.{misfit['embedding_column']}"
        if misfit["model"] in (None, model.name):
            raise ServiceFault(
                f"{column} is vector({misfit['width']}), but {model.name} makes vectors of width"
                f" {model.width}: detach it with drop_column => true and attach it again, or set"
                " VISION_MODEL_ID to the model that it was made for."
            )
        log.warning(
            "other_model",
            extra={
                "column": column,
                "model": misfit["model"],
                "mend": "select sidecar.reembed("
                f"'{misfit['target']}', '{misfit['source_column']}')",
            },
        )
    await pool.execute(statement("adopt"), model.name)


async def _run(
    url: str,
    pool: asyncpg.Pool,
    bell: Bell,
    pipeline: Pipeline,
    heart: Heart,
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[], None],
    presence: Presence,
) -> None:
    async def beat() -> None:
        rate = await pipeline.ledger.tally.store(pool)
        await heart.beat(bell.backend_pid, rate)
        presence.beat()

    indexes = Indexes(partial(connect, url))

    async def build_indexes() -> None:
        await indexes.build(await pipeline.attachments.refresh())

    background: asyncio.Future[Any] = asyncio.gather(
        bell.listen(),
        _every(HEARTBEAT, beat),
        _every(settings.lease_seconds / 4, pipeline.queue.renew),
        _every(SETTLE, pipeline.queue.settle_rest),
        _every(FEED, partial(_feed, bell, pool, pipeline)),
        _every(INDEX, build_indexes),
        _every(settings.lease_seconds / 2, partial(tidy, pool, settings.max_attempts)),
    )
    work: asyncio.Future[Any] = asyncio.ensure_future(pipeline.run())
    stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    # What torch and its like made at import stays for good: no collection need walk over it again.
    gc.freeze()
    await asyncio.sleep(0)  # until the pipeline's tasks run
    presence.calls = pipeline.calls
    log.info("ready")
    ready()
    try:
        await asyncio.wait({background, work, stopped}, return_when="FIRST_COMPLETED")
        for task in (background, work):
            if task.done():
                task.result()
        log.info("stopping")
        presence.stopping = True
        pipeline.calls.close(STOPPED)
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                await pipeline.drain()
    finally:
        pipeline.calls.refuse_all(STOPPED)
        for task in (background, work, stopped):
            task.cancel()
        await asyncio.gather(background, work, stopped, return_exceptions=True)
        with suppress(TimeoutError, *RETRYABLE):
            async with asyncio.timeout(FAREWELL):
                await pipeline.queue.release_all()
                await pipeline.requests.refuse_all(STOPPED)
                await pipeline.ledger.tally.store(pool)
                await heart.stop()
        log.info("stopped")


async def _every(seconds: float, call: Callable[[], Awaitable[object]]) -> None:
    """Calls at this interval, for ever; a database that is away is logged and asked again."""
    while True:
        try:
            await call()
        except RETRYABLE as error:
            log.warning("background", extra={"error": str(error) or type(error).__name__})
        await asyncio.sleep(seconds)


async def _feed(bell: Bell, pool: asyncpg.Pool, pipeline: Pipeline) -> None:
    """Queues the next slices of backfills; a table that refuses holds no other one up."""
    for attachment in await pipeline.attachments.refresh():
        try:
            while attachment.backfill != "done" and await feed(pool, attachment):
                bell.work.set()
        except asyncpg.PostgresError as error:
            log.warning("feed_refused", extra={"table": attachment.target, "error": str(error)})
