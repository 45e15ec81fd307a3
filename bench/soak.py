"""Four sidecars that are killed at random, eight writers, and what became of every row.

Run: python -m bench.soak [minutes]. Exits with 1 where a row was lost, a vector is stale, or the
application saw a deadlock.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
import psycopg
from psycopg import errors

from bench.ground import Connection, database, report, wait_for
from bench.hash_model import WIDTH, HashModel, vector_of

SIDECARS, WRITERS, ROWS = 4, 8, 5_000
SAMPLE = 0.005
# Kills charge attempts: with few of them, rows would become failures, and prove less.
SETTINGS = {"lease_seconds": 3.0, "text_batch_size": 64, "max_attempts": 1000}
PROCESSES = multiprocessing.get_context("forkserver")

BLOCKED = """
select
  max(extract(epoch from clock_timestamp() - l.waitstart)) * 1000
from pg_locks l
join pg_stat_activity a on a.pid = l.pid and a.application_name = 'application'
where not l.granted
  and exists (
    select
    from unnest(pg_blocking_pids(l.pid)) as b (pid)
    join pg_stat_activity s on s.pid = b.pid and s.application_name = 'sidecar'
  )
"""
XMIN = """
select max(extract(epoch from clock_timestamp() - xact_start))
from pg_stat_activity
where application_name = 'sidecar' and backend_xmin is not null
"""


def main(minutes: float) -> int:
    with database(max_connections="200") as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            prepare(connection)
            figures = Soak(server.url).run(60 * minutes)
            figures |= examine(connection)
    figures["computed and not written"] = figures.pop("computed") - figures["vectors written"]
    report(
        f"Soak: {SIDECARS} sidecars, {WRITERS} writers, {minutes:g} minutes",
        ["", "", "goal"],
        [[name, f"{value:,.10g}", GOALS.get(name, "")] for name, value in figures.items()],
    )
    return int(any(figures[name] for name in GOALS if GOALS[name] == "0"))


GOALS = {
    "rows in sidecar.failure": "0",
    "rows lost": "0",
    "vectors stale": "0",
    "deadlocks seen by the application": "0",
    "other errors seen by the application": "0",
    "longest wait of the application for a sidecar, ms": "< 50",
    "oldest xmin held by a sidecar, s": "< 1",
}


def prepare(connection: Connection) -> None:
    """A table that counts the vectors which are written to it, in a sequence: kills lose none."""
    connection.execute(
        "create table note (id bigint primary key, body text);"
        "create sequence written;"
        "create function count_write() returns trigger language plpgsql as"
        " 'begin perform nextval(''written''); return new; end'"
    )
    connection.execute("insert into sidecar.model (name, width) values ('hash', %s)", [WIDTH])
    connection.execute("select sidecar.attach('note', 'body', model => 'hash', index => 'none')")
    connection.execute(
        "create trigger count_write before update of body_embedding on note"
        " for each row execute function count_write()"
    )


def serve(url: str, computed: Any, ready: Any) -> None:
    """One sidecar, until it is killed; the body of a process."""
    from sidecar import log, service
    from sidecar.settings import Settings

    def count(vectors: int) -> None:
        computed.value += vectors

    log.set_up("human", "error")
    stop = asyncio.Event()
    model = HashModel(count)
    asyncio.run(service.serve(url, model, Settings(**SETTINGS), stop, ready=ready.set))


class Soak:
    """Runs writers, kills and measurements at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._counts: Counter[str] = Counter()
        self._longest = {"wait": 0.0, "xmin": 0.0}
        self._lock = threading.Lock()
        # One for each place, without a lock: who holds it may be killed.
        self._computed = [PROCESSES.RawValue("Q", 0) for _ in range(SIDECARS)]
        self._sidecars = [self._start(place) for place in range(SIDECARS)]

    def run(self, seconds: float) -> dict[str, float]:
        threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        threads += [threading.Thread(target=call) for call in (self._measure, self._administer)]
        for thread in threads:
            thread.start()
        self._kill(time.monotonic() + seconds)
        self._over.set()
        for thread in threads:
            thread.join()
        with psycopg.connect(self._url, autocommit=True) as connection:
            wait_for(
                connection,
                "select not exists (select from sidecar.pending)"
                " and not exists (select from sidecar.attachment where backfill <> 'done')",
            )
        for process in self._sidecars:
            process.kill()
            process.join()
        return {
            "rows written": self._counts["written"],
            "sidecars killed": self._counts["kills"],
            "computed": sum(number.value for number in self._computed),
            "deadlocks seen by the application": self._counts["deadlocks"],
            "other errors seen by the application": self._counts["errors"],
            "longest wait of the application for a sidecar, ms": round(self._longest["wait"], 1),
            "oldest xmin held by a sidecar, s": round(self._longest["xmin"], 3),
        }

    def _start(self, place: int) -> Any:
        ready = PROCESSES.Event()
        process = PROCESSES.Process(target=serve, args=(self._url, self._computed[place], ready))
        process.start()
        if not ready.wait(60):
            raise RuntimeError("a sidecar did not start within 60 s")
        return process

    def _kill(self, deadline: float) -> None:
        dice = random.Random(1)
        while time.monotonic() < deadline:
            time.sleep(dice.uniform(0.2, 2.0))
            place = dice.randrange(SIDECARS)
            self._sidecars[place].kill()
            self._sidecars[place].join()
            self._counts["kills"] += 1
            self._sidecars[place] = self._start(place)

    def _write(self, number: int) -> None:
        dice = random.Random(number)
        with psycopg.connect(self._url, application_name="application") as connection:
            while not self._over.is_set():
                try:
                    rows = self._change(connection, dice, number)
                    if dice.random() < 0.1:
                        rows = 0
                        connection.rollback()
                    else:
                        connection.commit()
                    self._count("written", rows)
                except errors.DeadlockDetected:
                    connection.rollback()
                    self._count("deadlocks", 1)
                except psycopg.Error as error:
                    sys.stderr.write(f"{error}\n")
                    connection.rollback()
                    self._count("errors", 1)
                time.sleep(dice.uniform(0.0, 0.01))

    def _change(self, connection: Connection, dice: random.Random, number: int) -> int:
        """One transaction, in the order of the keys, so that two writers do not deadlock."""
        some = sorted(dice.sample(range(ROWS), dice.choice((1, 1, 2, 5))))
        rows = 0
        for key in some:
            body = f"writer {number}, {dice.getrandbits(32)}"
            match dice.randrange(4):
                case 0:
                    query, values = "delete from note where id = %s", [key]
                case 1:
                    query, values = "update note set body = %s where id = %s", [body, key]
                case _:
                    query = (
                        "insert into note (id, body) values (%s, %s)"
                        " on conflict (id) do update set body = excluded.body"
                    )
                    values = [key, body]
            rows += connection.execute(query, values).rowcount
            if dice.random() < 0.2:
                time.sleep(0.01)
        return rows

    def _administer(self) -> None:
        """All rows again, now and then: the backfill meets writers and sidecars."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._over.wait(5):
                connection.execute("select sidecar.reembed('note', 'body')")
                connection.execute("select sidecar.retry('note', 'body')")

    def _measure(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._over.wait(SAMPLE):
                for name, query in (("wait", BLOCKED), ("xmin", XMIN)):
                    row = connection.execute(query).fetchone()
                    if row is not None and row[0] is not None:
                        self._longest[name] = max(self._longest[name], float(row[0]))

    def _count(self, name: str, number: int) -> None:
        with self._lock:
            self._counts[name] += number


def examine(connection: Connection) -> dict[str, float]:
    """What became of every row, by its content."""
    lost = stale = 0
    rows = connection.execute(
        "select body, body_embedding::real[] from note where not exists ("
        " select from sidecar.failure f where f.key = jsonb_build_array(id))"
    ).fetchall()
    for body, vector in rows:
        if vector is None:
            lost += 1
        elif not np.array_equal(np.float32(vector), vector_of(body.encode())):
            stale += 1
    counts = connection.execute(
        "select last_value, (select count(*) from sidecar.failure) from written"
    ).fetchone()
    assert counts is not None
    return {
        "rows at the end": len(rows),
        "rows in sidecar.failure": counts[1],
        "vectors written": counts[0],
        "rows lost": lost,
        "vectors stale": stale,
    }


if __name__ == "__main__":
    PROCESSES.set_forkserver_preload(["bench.hash_model", "sidecar.service"])
    with suppress(KeyboardInterrupt):
        sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
