"""Drain of pending text rows with a model that costs nothing, against one plain UPDATE of the same
vectors.

Run: python -m bench.queue [rows]
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any

import psycopg
import torch

from bench.ground import database, report, resident_bytes, sidecar, wait_for
from bench.null_model import NullModel
from sidecar.database import binary_of, create_pool


def main(rows: int) -> None:
    with database() as server, psycopg.connect(server.url, autocommit=True) as connection:
        url = server.url
        connection.execute("create table note (id bigint primary key, body text)")
        connection.execute("select sidecar.attach('note', 'body', index => 'none')")

        def fill() -> None:
            connection.execute("truncate note")
            connection.execute(
                "insert into note select g, 'a text of some length, number ' || g"
                " from generate_series(1, %s) g",
                [rows],
            )
            connection.execute("vacuum analyze note")
            connection.execute("vacuum analyze sidecar.pending")

        plain, drained, memory = [], [], [0, 0]
        for _ in range(2):
            fill()
            connection.execute("delete from sidecar.pending")
            plain.append(asyncio.run(plain_update(url, rows)))
            fill()
            seconds, memory = drain(connection, url)
            drained.append(seconds)
        base, ours = min(plain), min(drained)
        mib = 1024 * 1024
        report(
            f"Drain of {rows:,} pending text rows (best of 2)",
            ["", "seconds", "rows/s", "ratio"],
            [
                ["plain UPDATE ... FROM unnest", f"{base:.2f}", f"{rows / base:,.0f}", "1"],
                ["sidecar", f"{ours:.2f}", f"{rows / ours:,.0f}", f"{base / ours:.2f}"],
                [
                    "resident memory, MiB: idle, highest",
                    "",
                    "",
                    f"{memory[0] // mib}, {memory[1] // mib}",
                ],
            ],
        )


async def plain_update(url: str, rows: int) -> float:
    """Seconds that the database alone takes to write the vectors, in batches of 512 and binary."""
    pool = await create_pool(url, 1)
    vectors = NullModel().encode("text", [torch.zeros(1)] * 512)
    began = time.perf_counter()
    for start in range(1, rows + 1, 512):
        ids = list(range(start, min(start + 512, rows + 1)))
        await pool.execute(
            "update public.note t set body_embedding = k.vector"
            " from unnest($1::bigint[], $2::public.vector[]) as k (id, vector) where t.id = k.id",
            ids,
            [binary_of(vector) for vector in vectors[: len(ids)]],
        )
    seconds = time.perf_counter() - began
    await pool.close()
    return seconds


def drain(connection: psycopg.Connection[Any], url: str) -> tuple[float, list[int]]:
    """Seconds from ready to an empty queue, and resident memory at ready and at its highest."""
    connection.execute("select sidecar.pause('note', 'body')")
    with sidecar(url) as pid:
        memory = [resident_bytes(pid)] * 2
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.1):
                memory[1] = max(memory[1], resident_bytes(pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.perf_counter()
        connection.execute("select sidecar.resume('note', 'body')")
        # Asks for the last row first: a look at the whole queue would cost the drain a tenth.
        wait_for(
            connection,
            "select case when (select body_embedding is null from note order by id desc limit 1)"
            " then false else not exists (select from sidecar.pending) end",
        )
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
    return seconds, memory


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
