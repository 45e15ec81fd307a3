"""Both storages: a column of the table itself, and a companion table with its view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Storage:
    """How attach is told, and where vectors are then to be seen."""

    kind: str

    def attach(
        self, connection: Connection, table: str = "note", column: str = "body", **options: Any
    ) -> int:
        """sidecar.attach with this storage; index => 'none' unless told otherwise."""
        given = {"storage": self.kind, "index": "none", **options}
        arguments = "".join(f", {name} => %s" for name in given)
        row = connection.execute(
            f"select sidecar.attach(%s, %s{arguments})", [table, column, *given.values()]
        ).fetchone()
        assert row is not None
        return int(row[0])

    def shown(self, table: str = "note", column: str = "body") -> str:
        """The relation that shows the table's columns and its vectors."""
        if self.kind == "column":
            return table
        schema, _, name = table.rpartition(".")
        return f"{schema}{'.' if schema else ''}{name}_with_{column}_embedding"


@pytest.fixture(params=["column", "table"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """Runs a test once with each storage."""
    return Storage(request.param)
