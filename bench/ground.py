"""What the benchmarks share: a database of their own, the null model's sidecar as a process, and
tables.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import platform
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from sidecar import embedded, migrate
from sidecar.embedded import Server

Connection = psycopg.Connection[Any]


@contextmanager
def database(**settings: str) -> Iterator[Server]:
    """A PostgreSQL of its own, migrated; fsync is on unless settings say otherwise."""
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as directory:
        Path(directory).chmod(0o755)
        defaults = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
        with embedded.start(Path(directory), settings={**defaults, **settings}) as server:
            migrate.upgrade(server.url)
            yield server


def _serve(url: str, started: Any, settings: dict[str, Any]) -> None:
    from bench.null_model import NullModel
    from sidecar import log
    from sidecar.service import serve
    from sidecar.settings import Settings

    log.set_up("human", "warning")

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await serve(url, NullModel(), Settings(**settings), stop, ready=started.set)

    asyncio.run(run())


@contextmanager
def sidecar(url: str, **settings: Any) -> Iterator[int]:
    """A ready sidecar with the null model in a process of its own; its process id."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_serve, args=(url, started, settings))
    process.start()
    if not started.wait(60):
        raise RuntimeError("the sidecar did not start within 60 s")
    assert process.pid is not None
    try:
        yield process.pid
    finally:
        process.terminate()
        process.join(15)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def wait_for(connection: Connection, query: str, seconds: float = 600) -> None:
    """Returns when the query's one value is true."""
    deadline = time.monotonic() + seconds
    while connection.execute(query).fetchone() != (True,):  # type: ignore[arg-type]
        if time.monotonic() > deadline:
            raise TimeoutError(query)
        time.sleep(0.02)


def percentiles(seconds: list[float]) -> tuple[float, float, float]:
    """Median, 95th and 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1000, cuts[94] * 1000, cuts[98] * 1000


def report(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table, under the machine that it was measured on."""
    table = Table(title=f"{title}\n{machine()}", title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def machine() -> str:
    """Processor and cores."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
