"""Connections to PostgreSQL, and which of its errors are the service's fault and no row's."""

from __future__ import annotations

import asyncio
import logging
import re
import struct
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import numpy as np
from sqlalchemy import URL, make_url

from sidecar import metrics, sessions

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
    asyncpg.PostgresSystemError,
)
# The table is no longer as the attachment's statements name it.
CHANGED = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedObjectError,  # pgvector's types were moved to another schema
    asyncpg.InvalidSchemaNameError,
    asyncpg.DatatypeMismatchError,
)
# What may hold for one table alone: locked by a migration, its tablespace full or damaged.
BLOCKED = (
    asyncpg.LockNotAvailableError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.PostgresSystemError,
)
# A table that cannot be read or written as it is now; its rows wait, and nobody else's.
REFUSED = (*CHANGED, *BLOCKED, asyncpg.InsufficientPrivilegeError)


def sqlalchemy_url(url: str) -> URL:
    """The URL for SQLAlchemy with psycopg, from a libpq URL."""
    return make_url(url).set(drivername="postgresql+psycopg")


async def connect(url: str) -> sessions.Connection:
    """One connection with the sidecar's session settings and a codec for `vector`."""
    connection = await sessions.connect(url)
    try:
        await prepare_connection(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def create_pool(url: str, size: int, statement_seconds: float = 60.0) -> asyncpg.Pool:
    """A pool of at most `size` connections, each with a codec for `vector`.

    A connection that does not answer a statement within `statement_seconds` counts as lost.
    """
    first = await sessions.connect(url)
    await first.close()
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        connection_class=type(first),
        timeout=min(10, statement_seconds),
        command_timeout=statement_seconds,
        init=prepare_connection,
        **first.arguments,
    )


async def prepare_connection(connection: sessions.Connection) -> None:
    """Vectors go out as bytes (binary_of: an array would count as an SQL array) and come as arrays.

    pgvector may live in any schema.
    """
    await connection.settle_in()
    schema = await connection.fetchval(
        "select n.nspname from pg_catalog.pg_extension e"
        " join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'"
    )
    if schema is None:
        return  # not migrated yet; who serves says so
    async with connection.transaction():
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


async def persistently(
    call: Callable[[], Awaitable[Result]], what: str, unless: tuple[type[Exception], ...] = ()
) -> Result:
    """The result of `call`, tried until the database answers and has our schema: after 0.1 s, then
    twice as long, at most 5 s. Raises the errors in `unless` at once."""
    delay = 0.1
    while True:
        try:
            return await call()
        except (*RETRYABLE, *CHANGED) as error:
            if isinstance(error, unless) and not schema_gone(error):
                raise
            report(error, what, delay)
            metrics.DATABASE_RETRIES.labels(what).inc()
        await asyncio.sleep(delay)
        delay = min(delay * 2, 5.0)


def schema_gone(error: Exception) -> bool:
    """Whether the error is that our schema, or a part of it, is not there."""
    return isinstance(error, CHANGED) and re.search(r'\bsidecar[."]', str(error)) is not None


def report(error: Exception, what: str, delay: float) -> None:
    """Logs what passes by itself, or when the schema is back; raises everything else."""
    details = {"what": what, "error": str(error) or type(error).__name__, "retry_in_s": delay}
    if schema_gone(error):
        log.error("schema_gone", extra={**details, "mend": "sidecar migrate"})
    elif isinstance(error, RETRYABLE):
        log.warning("database_retry", extra=details)
    else:
        raise error
