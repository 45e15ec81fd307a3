"""Latency on an idle sidecar with a model that costs nothing: of a row, and of a question.

Run: python -m bench.latency [times]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import psycopg

from bench.ground import Connection, database, percentiles, report, sidecar


def main(times: int) -> None:
    with database() as server, psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(
            "create table note (id bigint generated always as identity primary key, body text)"
        )
        connection.execute("select sidecar.attach('note', 'body')")
        with sidecar(server.url):
            cases: list[tuple[str, Callable[[int], float], str]] = [
                ("round trip: select 1", lambda _: ask(connection, "select 1"), ""),
                (
                    "embed_text, cached",
                    lambda _: ask(connection, "select sidecar.embed_text('asked before')"),
                    "0.5",
                ),
                (
                    "embed_text, a new text each time",
                    lambda n: ask(connection, f"select sidecar.embed_text('new {n}')"),
                    "4",
                ),
                (
                    "CALL embed, a new text each time",
                    lambda n: ask(connection, f"call sidecar.embed('newer {n}', null)"),
                    "",
                ),
                (
                    "commit of an INSERT to its vector committed",
                    lambda n: follow(connection, n),
                    "15",
                ),
            ]
            lines = []
            for title, case, goal in cases:
                for number in range(20):
                    case(-number)
                seconds = [case(number) for number in range(times)]
                lines.append([title, *(f"{cut:.2f}" for cut in percentiles(seconds)), goal])
    report(f"Latency, ms, {times} times each", ["", "p50", "p95", "p99", "goal for p50"], lines)


def ask(connection: Connection, query: str) -> float:
    """Seconds of one statement on a warm connection."""
    began = time.perf_counter()
    connection.execute(query)  # type: ignore[arg-type]
    return time.perf_counter() - began


def follow(connection: Connection, number: int) -> float:
    """Seconds from the commit of an INSERT until another statement sees the vector."""
    row = connection.execute(
        "insert into note (body) values (%s) returning id", [f"note {number}"]
    ).fetchone()
    assert row is not None
    began = time.perf_counter()
    while connection.execute(
        "select body_embedding is not null from note where id = %s", row
    ).fetchone() != (True,):
        pass
    seconds = time.perf_counter() - began
    time.sleep(0.05)
    return seconds


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
