"""Connections to PostgreSQL, and which of its errors are the service's fault and no row's."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import numpy as np
from sqlalchemy import URL, make_url

from sidecar import metrics

log = logging.getLogger("sidecar.database")
Result = TypeVar("Result")
Vector = np.ndarray[Any, np.dtype[np.float32]]

# After these the same call can succeed: connection gone, restart, resources, deadlock, locks.
RETRYABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when the connection breaks at a bad moment
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
)
# The table is no longer as the attachment's statements name it.
CHANGED = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.DatatypeMismatchError,
)
# A table that cannot be read or written as it is now; its rows wait, and nobody else's.
REFUSED = (*CHANGED, asyncpg.InsufficientPrivilegeError)

SESSION = {
    "application_name": "sidecar",
    # A crash of the server takes a vector and the end of its lease back together, so the row is
    # done again: nothing is lost by not waiting for the disk.
    "synchronous_commit": "off",
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "jit": "off",
    # A row that row-level security hides would count as gone; so it is an error, and the row waits.
    "row_security": "off",
    # Each statement has one good plan, by index and row by row. Statistics of a queue that was
    # empty a moment ago lead elsewhere: to a scan of all that was drained since the last vacuum.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


def sqlalchemy_url(url: str) -> URL:
    """The URL for SQLAlchemy with psycopg, from a libpq URL."""
    return make_url(url).set(drivername="postgresql+psycopg")


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection whose session state is the same for all: nothing to reset when the pool gets it
    back."""

    def get_reset_query(self) -> str:
        """Saves a round trip after each statement."""
        return ""


async def connect(url: str) -> asyncpg.Connection:
    """One connection with the sidecar's session settings and a codec for `vector`."""
    connection = await asyncpg.connect(
        url, connection_class=Connection, server_settings=SESSION, timeout=10
    )
    try:
        await prepare_connection(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def create_pool(url: str, size: int) -> asyncpg.Pool:
    """A pool of at most `size` connections, each with a codec for `vector`."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        connection_class=Connection,
        server_settings=SESSION,
        timeout=10,
        init=prepare_connection,
    )


async def prepare_connection(connection: asyncpg.Connection) -> None:
    """Vectors go out as bytes (binary_of: an array would count as an SQL array) and come as arrays.

    pgvector may live in any schema.
    """
    schema = await connection.fetchval(
        "select n.nspname from pg_catalog.pg_extension e"
        " join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'"
    )
    if schema is None:
        return  # not migrated yet; who serves says so
    await connection.set_type_codec(
        "vector",
        schema=schema,
        encoder=lambda vector: vector,
        decoder=vector_of,
        format="binary",
    )


def binary_of(vector: Vector) -> bytes:
    """pgvector's binary form of a vector (vector_send: int16 width, int16 zero, float4 each)."""
    return struct.pack(">HH", len(vector), 0) + vector.astype(">f4").tobytes()


def vector_of(binary: bytes) -> Vector:
    """A vector (width,) float32 from pgvector's binary form."""
    return np.frombuffer(binary, ">f4", offset=4).astype(np.float32)


async def persistently(call: Callable[[], Awaitable[Result]], what: str) -> Result:
    """The result of `call`, tried until the database answers: after 0.1 s, then twice as long, at
    most 5 s."""
    delay = 0.1
    while True:
        try:
            return await call()
        except RETRYABLE as error:
            reason = str(error) or type(error).__name__
            metrics.DATABASE_RETRIES.labels(what).inc()
            log.warning(
                "database_retry", extra={"what": what, "error": reason, "retry_in_s": delay}
            )
        await asyncio.sleep(delay)
        delay = min(delay * 2, 5.0)
