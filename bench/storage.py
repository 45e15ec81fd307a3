"""What vectors cost an application that changes another, indexed column of its rows: with no
attachment, with storage => 'column' and with storage => 'table', the two with an HNSW index.

Run: python -m bench.storage [rows]
"""

from __future__ import annotations

import sys
import time

import numpy as np
import psycopg
from psycopg import sql

from bench.ground import Connection, database, report

WIDTH = 768
# One round of 'column' takes minutes, and no other round can disturb it.
ROUNDS = {"bare": 3, "beside": 1, "apart": 3}
TABLES = {"no attachment": "bare", "storage => 'column'": "beside", "storage => 'table'": "apart"}


def main(rows: int) -> None:
    with database(maintenance_work_mem="1GB") as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            for name in TABLES.values():
                fill(connection, name, rows)
            seconds = {
                title: min(update(connection, name) for _ in range(ROUNDS[name]))
                for title, name in TABLES.items()
            }
    baseline = seconds["no attachment"]
    lines = [[title, f"{taken:.3f}", f"{taken / baseline:.1f}"] for title, taken in seconds.items()]
    report(
        f"UPDATE of an indexed integer in {rows:,} rows, one statement",
        ["", "seconds", "ratio"],
        lines,
    )


def fill(connection: Connection, name: str, rows: int) -> None:
    """A table with a text, an indexed price, and where it is attached a vector for each row."""
    table = sql.Identifier(name)
    connection.execute(
        sql.SQL("create table {} (id int primary key, body text, price int)").format(table)
    )
    connection.execute(sql.SQL("create index on {} (price)").format(table))
    connection.execute(
        sql.SQL(
            "insert into {} select g, 'a red bicycle, number ' || g, g"
            " from generate_series(1, %s) g"
        ).format(table),
        [rows],
    )
    if name == "bare":
        return
    storage = "column" if name == "beside" else "table"
    attach = "select sidecar.attach(%s, 'body', storage => %s, index => 'none', backfill => false)"
    connection.execute(attach, [name, storage])
    store = sql.SQL(
        "update {} t set body_embedding = n.vector from new_vectors n where n.id = t.id"
        if storage == "column"
        else "insert into apart_body_embedding (id, embedding, model, content_hash)"
        " select n.id, n.vector, 'bench', sha256(convert_to(t.body, 'UTF8'))"
        " from new_vectors n join {} t using (id)"
    ).format(table)
    random = np.random.default_rng(7)
    connection.execute(f"create temporary table new_vectors (id int, vector vector({WIDTH}))")
    with connection.cursor() as cursor, cursor.copy("copy new_vectors from stdin") as copy:
        for number in range(1, rows + 1):
            vector = random.standard_normal(WIDTH)
            copy.write_row([number, str((vector / np.linalg.norm(vector)).round(6).tolist())])
    connection.execute(store)
    connection.execute("drop table new_vectors")
    holder, column = (
        (table, "body_embedding")
        if storage == "column"
        else (sql.Identifier("apart_body_embedding"), "embedding")
    )
    connection.execute(
        sql.SQL("create index on {} using hnsw ({} vector_cosine_ops)").format(
            holder, sql.Identifier(column)
        )
    )


def update(connection: Connection, name: str) -> float:
    """Seconds of one UPDATE of every row, after a VACUUM."""
    connection.execute(sql.SQL("vacuum analyze {}").format(sql.Identifier(name)))
    connection.execute("checkpoint")
    statement = sql.SQL("update {} set price = price + 1").format(sql.Identifier(name))
    began = time.perf_counter()
    connection.execute(statement)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
