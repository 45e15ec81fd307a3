"""A table `products` with pictures, attached, and vectors in it without any model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fix_postgres import Connect, Connection
from tests.fix_sidecar import hash_vector


def vector_text(content: bytes | str) -> str:
    """The encoder's vector of a content, as pgvector reads it."""
    return str(hash_vector(content).tolist())


Shop = Callable[..., Connection]


@pytest.fixture
def shop(connect: Connect) -> Shop:
    """shop(rows=5) -> a connection to `database` with `products`, row n with its 'picture n'."""

    def make(rows: int = 5, index: str = "none") -> Connection:
        connection = connect()
        connection.execute("create table products (id bigint primary key, name text, photo bytea)")
        connection.execute("select sidecar.attach('products', 'photo', index => %s)", [index])
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into products values (%s, %s, %s, %s)",
                [
                    (number, f"name {number}", content, vector_text(content))
                    for number in range(1, rows + 1)
                    for content in [f"picture {number}".encode()]
                ],
            )
        connection.execute("delete from sidecar.pending")
        connection.execute("update sidecar.attachment set backfill = 'done'")
        return connection

    return make
