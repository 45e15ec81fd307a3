"""A backlog at its worst: COPY of a million rows while two sidecars drain, and a drain beside a
transaction that is left open.

Run: python -m bench.backlog [rows of the COPY] [seconds of each drain]
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack

import psycopg

from bench.ground import Connection, database, report, resident_bytes, sidecar, wait_for

TEXT = "a text of some length, number "
ROWS, PENDING = 100_000, 20_000
"""Rows of the table, and those that are kept waiting, while a drain's rate is taken."""
COUNTER = """
create sequence embedded;
create function count_vector() returns trigger language plpgsql as
  'begin perform nextval(''embedded''); return new; end';
create trigger count_vector before update of body_embedding on note
  for each row execute function count_vector()
"""


def main(rows: int, seconds: float) -> None:
    with database() as server, psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("create table note (id bigint primary key, body text)")
        connection.execute("select sidecar.attach('note', 'body', index => 'none')")
        with ExitStack() as running:
            pids = [running.enter_context(sidecar(server.url)) for _ in range(2)]
            copied = copy(connection, rows, pids)
            connection.execute(COUNTER)
            rates = [rate(server.url, held, seconds) for held in (False, True, False)]
    without, with_held = max(rates[0], rates[2]), rates[1]
    report(
        f"COPY of {rows:,} rows while two sidecars drain",
        ["", ""],
        [[name, f"{value:,.0f}"] for name, value in copied.items()],
    )
    report(
        f"Rate of a drain while rows are written, {seconds:g} s each",
        ["", "rows/s", "ratio", "goal"],
        [
            ["without", f"{rates[0]:,.0f}, {rates[2]:,.0f}", "1", ""],
            ["with a held xmin", f"{with_held:,.0f}", f"{with_held / without:.2f}", "0.8"],
        ],
    )


def copy(connection: Connection, rows: int, pids: list[int]) -> dict[str, float]:
    """COPY in one transaction; then the drain of all of it."""
    highest = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            highest[0] = max(highest[0], *map(resident_bytes, pids))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy("copy note (id, body) from stdin") as stream:
        for start in range(0, rows, 10_000):
            some = range(start + 1, min(start + 10_000, rows) + 1)
            stream.write("".join(f"{number}\t{TEXT}{number}\n" for number in some))
    copied = time.perf_counter() - began
    # Asks for the last row first: a look at the whole queue would slow the drain.
    wait_for(
        connection,
        "select case when (select body_embedding is null from note order by id desc limit 1)"
        " then false else not exists (select from sidecar.pending) end",
        3600,
    )
    drained = time.perf_counter() - began
    over.set()
    watcher.join()
    return {
        "COPY, rows/s": rows / copied,
        "until all is drained, s": drained,
        "drained, rows/s": rows / drained,
        "resident memory of a sidecar at its highest, MiB": highest[0] / 1024 / 1024,
    }


def rate(url: str, held: bool, seconds: float) -> float:
    """Rows that two sidecars embed in a second, while as many are changed; about PENDING wait."""
    with ExitStack() as sessions:
        connection = sessions.enter_context(psycopg.connect(url, autocommit=True))
        connection.execute("truncate note")
        connection.execute(
            "insert into note select g, %s || g from generate_series(1, %s) g", [TEXT, ROWS]
        )
        wait_for(connection, "select not exists (select from sidecar.pending)")
        connection.execute("vacuum note, sidecar.pending")
        if held:
            holder = sessions.enter_context(psycopg.connect(url))
            holder.execute("set transaction isolation level repeatable read")
            holder.execute("select count(*) from note")
        before, changed = embedded(connection), 0
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            if changed - (embedded(connection) - before) > PENDING:
                time.sleep(0.005)
                continue
            first = changed % ROWS
            connection.execute(
                "update note set body = %s || id where id > %s and id <= %s",
                [f"{TEXT}{changed}, ", first, first + 1000],
            )
            changed += 1000
        return (embedded(connection) - before) / (time.perf_counter() - began)


def embedded(connection: Connection) -> int:
    """Vectors written so far, as a sequence counts them: no query that dead rows could slow."""
    row = connection.execute("select last_value from embedded").fetchone()
    assert row is not None
    number: int = row[0]
    return number


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000,
        float(sys.argv[2]) if len(sys.argv) > 2 else 180.0,
    )
