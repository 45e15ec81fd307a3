"""What attaching a column costs the application that writes: COPY, and single-row INSERTs.

Run: python -m bench.write_path [rows]
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import sql

from bench.ground import Connection, database, report
from sidecar.embedded import Server

CLIENTS = 16
SECONDS = 6
ROUNDS = 2
BODY = "a red bicycle with a bell, hardly used, one owner, to be fetched in the evening, number "
TABLES = {"plain": "copied", "attached": "followed"}


def main(rows: int) -> None:
    with database() as server, psycopg.connect(server.url, autocommit=True) as connection:
        for table in TABLES.values():
            connection.execute(
                sql.SQL(
                    "create table {} (id bigint generated always as identity primary key,"
                    " owner integer not null, body text not null, photo bytea,"
                    " added timestamptz not null default now())"
                ).format(sql.Identifier(table))
            )
            connection.execute(sql.SQL("create index on {} (owner)").format(sql.Identifier(table)))
        connection.execute("select sidecar.attach('followed', 'body', index => 'none')")
        seconds = {
            name: min(copy(connection, name, rows) for _ in range(ROUNDS)) for name in TABLES
        }
        lines = [line(f"COPY of {rows:,} rows, rows/s", {n: rows / s for n, s in seconds.items()})]
        cases = (
            ("simple", "text of 90 bytes", 0),
            ("prepared", "text of 90 bytes", 0),
            ("prepared", "the same and a picture of 20 kB", 20_000),
        )
        for mode, title, photo in cases:
            rates: dict[str, float] = dict.fromkeys(TABLES, 0.0)
            for _ in range(ROUNDS):
                for name in TABLES:
                    clear(connection)
                    rates[name] = max(rates[name], insert(server, name, mode, photo))
            lines.append(line(f"INSERT, {CLIENTS} writers, {mode}: {title}; tps", rates))
        report(f"The write path, best of {ROUNDS}", ["", *TABLES, "ratio"], lines)


def line(title: str, rates: dict[str, float]) -> list[str]:
    plain, attached = rates["plain"], rates["attached"]
    return [title, f"{plain:,.0f}", f"{attached:,.0f}", f"{attached / plain:.2f}"]


def clear(connection: Connection) -> None:
    connection.execute("truncate copied, followed")
    connection.execute("vacuum sidecar.pending")
    connection.execute("checkpoint")


def copy(connection: Connection, name: str, rows: int) -> float:
    """Seconds of one COPY into an empty table."""
    clear(connection)
    statement = sql.SQL("copy {} (owner, body) from stdin").format(sql.Identifier(TABLES[name]))
    data = "".join(f"{number % 1000}\t{BODY}{number}\n" for number in range(rows)).encode()
    began = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        stream.write(data)
    return time.perf_counter() - began


def insert(server: Server, name: str, mode: str, photo: int) -> float:
    """Transactions per second of pgbench: one INSERT of one row each, in a pgbench protocol."""
    value = f"decode(repeat('{os.urandom(50).hex()}', {photo // 50}), 'hex')" if photo else "null"
    text = (
        "\\set owner random(1, 1000)\n"
        f"insert into {TABLES[name]} (owner, body, photo) values (:owner, '{BODY}', {value});\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(text)
        script.flush()
        command = [
            str(Path(shlex.split(server.psql)[0]).with_name("pgbench")),
            *("-n", "-M", mode, "-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS)),
            *("-f", script.name, server.url),
        ]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"tps = ([\d.]+)", output)
    assert found is not None, output
    return float(found[1])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
