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
from sidecar.database import CHANGED, RETRYABLE, connect, create_pool, persistently, report
from sidecar.encoder import Encoder
from sidecar.errors import ServiceFault
from sidecar.pipeline import Pipeline
from sidecar.presence import Presence
from sidecar.reconcile import Reconciler
from sidecar.settings import Settings
from sidecar.signals import Signal, silent
from sidecar.slices import Slices
from sidecar.statements import statement
from sidecar.sweep import Heart, Indexes, feed, tidy
from sidecar.upkeep import Upkeep

log = logging.getLogger("sidecar.service")

HEARTBEAT = 2.0
FEED = 0.5
INDEX = 2.0
SWEEP = 2.0
UPKEEP = 2.0
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

    Raises ServiceFault where the database is not migrated.
    """
    pool = await persistently(partial(create_pool, url, 8, settings.statement_seconds), "connect")
    try:
        register = partial(check_database, pool, model)
        await persistently(register, "start")
        direct = settings.database_direct_url or url
        bell = Bell(partial(connect, direct), pool)
        pipeline = Pipeline(pool, bell, model, settings, signal)
        heart = Heart(pool, model.name, model.device)
        await persistently(partial(heart.beat, None, 0.0), "heartbeat")
        presence = presence or Presence()
        presence.model, presence.pool = model, pool
        metrics.describe(__version__, model.name, model.device)
        presence.beat()
        await _run(direct, pool, register, bell, pipeline, heart, settings, stop, ready, presence)
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
    await pool.execute(statement("note_columns"))
    await pool.execute(statement("register_model"), model.name, model.width)
    await pool.execute(statement("stop_serving"), model.name)
    await pool.execute(statement("start_serving"), model.name)
    for misfit in await pool.fetch(statement("misfits"), model.name):
        log.warning(
            "other_model",
            extra={
                "column": f"{misfit['target']}.{misfit['embedding_column']}",
                "model": misfit["model"],
                "mend": "select sidecar.reembed("
                f"'{misfit['target']}', '{misfit['source_column']}')",
            },
        )
    await pool.execute(statement("adopt"), model.name)


async def _run(
    direct: str,
    pool: asyncpg.Pool,
    register: Callable[[], Awaitable[None]],
    bell: Bell,
    pipeline: Pipeline,
    heart: Heart,
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[], None],
    presence: Presence,
) -> None:
    async def beat() -> None:
        bell.listening.clear()
        rate = await pipeline.ledger.tally.store(pool)
        if not await heart.beat(bell.backend_pid, rate):
            log.warning("schema_new")
            await register()
        presence.beat()

    indexes = Indexes(partial(connect, direct))
    reconciler = Reconciler(pool, heart.model, settings.sweep_seconds)

    async def build_indexes() -> None:
        if bell.backend_pid:  # so there is a session of one's own, in the same database
            await indexes.build(await pipeline.attachments.refresh())

    background: asyncio.Future[Any] = asyncio.gather(
        bell.listen(),
        _every(HEARTBEAT, beat, bell.listening),
        _every(settings.lease_seconds / 4, pipeline.queue.renew),
        _every(SETTLE, pipeline.queue.settle_rest),
        _every(FEED, partial(_feed, bell, pool, pipeline, Slices())),
        _every(INDEX, build_indexes),
        _every(SWEEP, reconciler.turn),
        _every(UPKEEP, Upkeep(pool).look),
        _every(settings.lease_seconds / 2, pipeline.queue.find_spent),
        _every(settings.lease_seconds / 2, partial(tidy, pool)),
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
        with suppress(TimeoutError, *RETRYABLE, *CHANGED):
            async with asyncio.timeout(FAREWELL):
                if work.cancelled():  # else a row may have ended it: its attempt stays charged
                    await pipeline.queue.release_all()
                await pipeline.requests.refuse_all(STOPPED)
                await pipeline.ledger.tally.store(pool)
                await heart.stop()
        log.info("stopped")


async def _every(
    seconds: float, call: Callable[[], Awaitable[object]], sooner: asyncio.Event | None = None
) -> None:
    """Calls at this interval, or when `sooner` is set, for ever; what the database refuses, or a
    schema that is gone, is logged and asked again."""
    while True:
        try:
            await call()
        except (*RETRYABLE, asyncpg.PostgresError) as error:
            if isinstance(error, (*RETRYABLE, *CHANGED)):
                report(error, "background", seconds)
            else:
                log.warning("background", extra={"error": str(error) or type(error).__name__})
        with suppress(TimeoutError):
            await asyncio.wait_for((sooner or asyncio.Event()).wait(), seconds)


async def _feed(bell: Bell, pool: asyncpg.Pool, pipeline: Pipeline, slices: Slices) -> None:
    """Queues the next slices of backfills; a table that refuses holds no other one up."""
    for attachment in await pipeline.attachments.refresh():
        try:
            while attachment.backfill != "done" and await feed(pool, attachment, slices):
                bell.work.set()
        except asyncpg.PostgresError as error:
            log.warning("feed_refused", extra={"table": attachment.target, "error": str(error)})
