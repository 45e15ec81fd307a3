"""Name -> SQL text out of sql/queries, one named query a file."""

from __future__ import annotations

from functools import cache

from sidecar.resources import sql_root


@cache
def statement(name: str) -> str:
    """The text of sql/queries/<name>.sql."""
    return (sql_root() / "queries" / f"{name}.sql").read_text(encoding="utf-8")
