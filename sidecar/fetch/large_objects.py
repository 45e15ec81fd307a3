"""PostgreSQL's large objects, read with the rights of the sidecar's own role."""

from __future__ import annotations

from typing import Any

import asyncpg

from sidecar.database import REFUSED, persistently
from sidecar.errors import RowFault
from sidecar.fetch.memory import Hold
from sidecar.statements import statement


async def read_large_object(pool: asyncpg.Pool, oid: int, hold: Hold, most: int) -> bytes:
    """All bytes of a large object.

    Waits for a database that is away. Raises RowFault: large_object_not_found,
    large_object_forbidden, fetch_too_large; and the errors in REFUSED.
    """
    try:
        size = await _ask(pool, "large_object_size", oid)
        if size > most:
            raise RowFault(
                "fetch_too_large",
                f"The large object {oid} has {size:,} bytes, and at most {most:,} are allowed:"
                " store a smaller picture, or raise SIDECAR_MAX_IMAGE_BYTES.",
            )
        await hold.grow(size)
        hold.read()
        return bytes(await _ask(pool, "large_object", oid, most))
    except asyncpg.UndefinedObjectError as error:
        raise RowFault(
            "large_object_not_found",
            f"The large object {oid} does not exist: store the oid of one, or NULL.",
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise RowFault(
            "large_object_forbidden",
            f"The sidecar's role may not read the large object {oid}: let its owner run"
            " SELECT sidecar.grant_large_objects(table, column), then retry.",
        ) from error


async def _ask(pool: asyncpg.Pool, name: str, *values: int) -> Any:
    return await persistently(
        lambda: pool.fetchval(statement(name), *values), "load", unless=REFUSED
    )
