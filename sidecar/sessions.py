"""What the sidecar's database sessions are like, directly or through a pooler.

A pooler in transaction mode (PgBouncer) gives each transaction another server session, which others
use in between. So there nothing is left behind in a session, and nothing is expected of it: the
settings are made anew in each transaction, and no statement is prepared for later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, ClassVar

import asyncpg

NAME = {"application_name": "sidecar"}
SESSION = {
    # A crash of the server takes a vector and the end of its lease back together, so the row is
    # done again: nothing is lost by not waiting for the disk.
    "synchronous_commit": "off",
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    # Not `jit`: asyncpg sets that for the whole session where it finds it off.
    "jit_above_cost": "-1",
    "statement_timeout": "0",
    # Who waits for one table's lock would keep a connection from all others.
    "lock_timeout": "2s",
    # Of a connection that broke without a word, the server keeps the locks until it notices.
    "idle_in_transaction_session_timeout": "1min",
    # A row that row-level security hides would count as gone; so it is an error, and the row waits.
    "row_security": "off",
    # Each statement has one good plan, by index and row by row. Statistics of a queue that was
    # empty a moment ago lead elsewhere: to a scan of all that was drained since the last vacuum.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
# Names in the sidecar's own statements mean PostgreSQL's objects and no others, whatever somebody
# made in a schema of the role's search_path. That path is kept for the triggers of attached tables.
NARROW = (
    "select pg_catalog.set_config("
    "'sidecar.search_path', pg_catalog.current_setting('search_path'), {local}),"
    " pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', {local})"
)


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """A session of one's own. Its state is the same for all: nothing to reset when the pool gets it
    back."""

    arguments: ClassVar[dict[str, Any]] = {"server_settings": NAME | SESSION}

    def get_reset_query(self) -> str:
        """Saves a round trip after each statement."""
        return ""

    async def settle_in(self) -> None:
        """Narrows the search_path, for good."""
        await self.execute(NARROW.format(local="false"))


class PooledConnection(Connection):
    """A connection through a pooler: each statement is a transaction that brings its settings."""

    arguments: ClassVar[dict[str, Any]] = {"server_settings": NAME, "statement_cache_size": 0}
    _begin = "; ".join(
        [
            "begin",
            *(f"set local {name} = '{value}'" for name, value in SESSION.items()),
            NARROW.format(local="true"),
        ]
    )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """BEGIN with the settings; COMMIT, or ROLLBACK after an error. Not nested."""
        await super().execute(self._begin)
        try:
            yield
        except asyncio.CancelledError:
            self.terminate()  # it is in the middle of an answer, and could not roll back
            raise
        except BaseException:
            # The first error says what happened; a connection that is gone rolls back by itself.
            with suppress(OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
                await super().execute("rollback")
            raise
        await super().execute("commit")

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        async with self._settled():
            return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        async with self._settled():
            return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        async with self._settled():
            return await super().fetchval(query, *args, **options)

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:
        async with self._settled():
            return await super().execute(query, *args, **options)

    async def settle_in(self) -> None:
        """Nothing: each transaction does."""

    def _settled(self) -> AbstractAsyncContextManager[None]:
        return self._as_it_is() if self.is_in_transaction() else self.transaction()

    @asynccontextmanager
    async def _as_it_is(self) -> AsyncIterator[None]:
        yield


async def connect(url: str) -> Connection:
    """A connection of the kind that the address asks for.

    A pooler shows itself: it refuses settings for a session, or the server process that answers is
    not the one that the connection was promised.
    """
    with suppress(asyncpg.ProtocolViolationError):
        connection = await _open(url, Connection)
        promised = connection.get_server_pid()
        try:
            if await connection.fetchval("select pg_catalog.pg_backend_pid()") == promised:
                return connection
        except BaseException:  # such as a stop just now
            connection.terminate()
            raise
        await connection.close()
    return await _open(url, PooledConnection)


async def _open(url: str, kind: type[Connection]) -> Connection:
    connection: Connection = await asyncpg.connect(
        url, connection_class=kind, timeout=10, **kind.arguments
    )
    return connection
