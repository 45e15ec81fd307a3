"""Questions over HTTP with the bundled model: one at a time, and 64 clients at once; each text is
a new one. Then the same while rows wait, with and without the window.

Run: python -m bench.http [seconds]
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench.ground import database, percentiles, report

PORT = 9123
CLIENTS = 64
PICTURE_ROWS = 20_000


@contextmanager
def sidecar(url: str, **settings: str) -> Iterator[int]:
    """`sidecar run` with the bundled model, ready; its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "run"],
        env={
            **os.environ,
            "DATABASE_URL": url,
            "VISION_MODEL_ID": "bundled",
            "SIDECAR_HTTP": f"127.0.0.1:{PORT}",
            "SIDECAR_LOG_FORMAT": "json",
            **settings,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if '"event": "ready"' in line:
            break
    rest = threading.Thread(target=process.stderr.read)
    rest.start()
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(15)
        rest.join()
        process.stderr.close()


class Client:
    """One connection that asks one text after the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.seconds: list[float] = []

    async def ask_until(self, deadline: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        while time.perf_counter() < deadline:
            text = f"a red circle {self._name} {len(self.seconds)}"
            body = json.dumps({"text": text}).encode()
            began = time.perf_counter()
            writer.write(
                b"POST /embed/text HTTP/1.1\r\nhost: localhost\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(head.decode())
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            self.seconds.append(time.perf_counter() - began)
        writer.close()


async def load(name: str, clients: int, seconds: float) -> list[float]:
    """Seconds of each answer that `clients` got, as fast as each could ask."""
    crowd = [Client(f"{name} {number}") for number in range(clients)]
    deadline = time.perf_counter() + seconds
    await asyncio.gather(*[client.ask_until(deadline) for client in crowd])
    return [second for client in crowd for second in client.seconds]


def processor_seconds(pid: int) -> float:
    """What a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def line(
    pid: int, title: str, clients: int, seconds: float, baseline: float | None
) -> tuple[list[str], float]:
    """Measures one case, after a second to warm up."""
    asyncio.run(load(f"{title} warm", clients, 1.0))
    used = processor_seconds(pid)
    times = asyncio.run(load(title, clients, seconds))
    each = (processor_seconds(pid) - used) / len(times) * 1000
    rate = len(times) / seconds
    cuts = [f"{cut:.1f}" for cut in percentiles(times)]
    return [title, f"{rate:,.0f}", f"{rate / (baseline or rate):.1f}", *cuts, f"{each:.2f}"], rate


def main(seconds: float) -> None:
    with database() as server, psycopg.connect(server.url, autocommit=True) as connection:
        lines = []
        with sidecar(server.url) as pid:
            one, rate = line(pid, "1 client", 1, seconds, None)
            many, _ = line(pid, f"{CLIENTS} clients", CLIENTS, seconds, rate)
            lines += [one, many]
        connection.execute("create table product (id int primary key, picture bytea)")
        connection.execute("select sidecar.attach('product', 'picture', index => 'none')")
        from sidecar.bundled.drawings import draw

        for window in ("0", "10"):
            connection.execute("truncate product")
            with sidecar(server.url, BATCH_WINDOW_MS=window) as pid:
                fill(connection, draw(1)[0].resize((256, 256)))
                title = f"{CLIENTS} and pictures, window {window} ms"
                busy, _ = line(pid, title, CLIENTS, seconds, rate)
                left = connection.execute("select count(*) from sidecar.pending").fetchone()
                assert left is not None
                done = PICTURE_ROWS - left[0]
                lines.append([f"{busy[0]} ({done:,} done)", *busy[1:]])
    columns = ["", "answers/s", "ratio", "p50 ms", "p95", "p99", "CPU ms"]
    report(f"POST /embed/text, bundled model, {seconds:g} s each", columns, lines)


def fill(connection: psycopg.Connection[tuple[object, ...]], picture: object) -> None:
    """Pictures that keep the model busy for the whole of a measurement."""
    import io

    file = io.BytesIO()
    picture.save(file, "JPEG")  # type: ignore[attr-defined]
    connection.execute(
        "insert into product select n, %s from generate_series(1, %s) n",
        [file.getvalue(), PICTURE_ROWS],
    )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
