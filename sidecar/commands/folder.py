"""A folder of pictures -> rows of a table, by plain INSERTs. Memory holds one batch at most."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
BATCH_FILES = 100
BATCH_BYTES = 32 * 1024 * 1024
LARGEST_FILE = 512 * 1024 * 1024
"""A bytea holds at most 1 GB, and the sidecar reads at most SIDECAR_MAX_IMAGE_BYTES."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where pictures go."""

    schema: str
    table: str
    column: str
    name_column: str

    @property
    def regclass(self) -> str:
        """The table's name, quoted as far as it needs to be for a cast to regclass."""
        return sql.Identifier(self.schema, self.table).as_string(None)


@dataclass(slots=True)
class Loaded:
    """What became of a folder's files."""

    added: int = 0
    known: int = 0
    unreadable: list[str] = field(default_factory=list)
    """NAME: reason."""


def find_target(
    connection: psycopg.Connection[Any], table: str, column: str, name_column: str
) -> Target:
    """Where `table`, written as in SQL, is, or would be made."""
    row = connection.execute(
        "select coalesce(n.nspname, p.parts[cardinality(p.parts) - 1], current_schema(), 'public'),"
        " coalesce(c.relname, p.parts[cardinality(p.parts)])"
        " from (select parse_ident(%(table)s) as parts) as p"
        " left join pg_class c on c.oid = to_regclass(%(table)s)"
        " left join pg_namespace n on n.oid = c.relnamespace",
        {"table": table},
    ).fetchone()
    assert row is not None
    return Target(row[0], row[1], column, name_column)


def prepare_table(connection: psycopg.Connection[Any], target: Target) -> None:
    """Makes the table if it is not there, and attaches the column if it is not."""
    with connection.transaction():
        connection.execute(
            sql.SQL(
                "create table if not exists {} (id bigint generated always as identity primary key,"
                " {} text not null unique, {} bytea)"
            ).format(
                sql.Identifier(target.schema, target.table),
                sql.Identifier(target.name_column),
                sql.Identifier(target.column),
            )
        )
        attached = connection.execute(
            "select from sidecar.attachment a where a.target = %s::regclass"
            " and sidecar.column_name(a.target, a.source_attnum) = %s",
            [target.regclass, target.column],
        ).fetchone()
        if attached is None:
            connection.execute(
                "select sidecar.attach(%s::regclass, %s)", [target.regclass, target.column]
            )


def find_pictures(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, path) of the pictures below a folder, in order; a name is the path inside it."""
    for where, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if file.lower().endswith(ENDINGS):
                path = Path(where, file)
                yield path.relative_to(folder).as_posix(), path


def load_folder(
    connection: psycopg.Connection[Any],
    target: Target,
    folder: Path,
    advance: Callable[[int], None] = lambda files: None,
) -> Loaded:
    """Inserts the pictures that the table does not hold by name; one transaction a batch."""
    loaded = Loaded()
    batch: list[tuple[str, Path]] = []
    held = 0
    for name, path in find_pictures(folder):
        size = readable_size(name, path, loaded)
        if size is None:
            advance(1)
            continue
        if batch and (len(batch) == BATCH_FILES or held + size > BATCH_BYTES):
            insert_batch(connection, target, batch, loaded)
            advance(len(batch))
            batch, held = [], 0
        batch.append((name, path))
        held += size
    if batch:
        insert_batch(connection, target, batch, loaded)
        advance(len(batch))
    return loaded


def readable_size(name: str, path: Path, loaded: Loaded) -> int | None:
    """The file's size, bytes; None where it cannot become a row, which is noted."""
    try:
        name.encode()
        size = path.stat().st_size
    except UnicodeEncodeError:
        loaded.unreadable.append(f"{name!a}: its name is not UTF-8")
        return None
    except OSError as error:
        loaded.unreadable.append(f"{name}: {error.strerror}")
        return None
    if size > LARGEST_FILE:
        loaded.unreadable.append(f"{name}: {size:,} bytes are too many for a row")
        return None
    return size


def insert_batch(
    connection: psycopg.Connection[Any],
    target: Target,
    batch: list[tuple[str, Path]],
    loaded: Loaded,
) -> None:
    """One transaction: what of the batch is not there yet."""
    words = {
        "table": sql.Identifier(target.schema, target.table),
        "name": sql.Identifier(target.name_column),
        "column": sql.Identifier(target.column),
    }
    known = sql.SQL("select {name} from {table} where {name} = any($1)").format(**words)
    insert = sql.SQL(
        "insert into {table} ({name}, {column}) values ($1, $2) on conflict do nothing"
    ).format(**words)
    # A raw cursor: a name may hold a %.
    with connection.transaction(), psycopg.RawCursor(connection) as cursor:
        cursor.execute(known, [[name for name, _ in batch]])
        there = {row[0] for row in cursor}
        for name, path in batch:
            if name in there:
                loaded.known += 1
                continue
            try:
                content = path.read_bytes()
            except OSError as error:
                loaded.unreadable.append(f"{name}: {error.strerror}")
                continue
            inserted = cursor.execute(insert, [name, content]).rowcount
            loaded.added += inserted
            loaded.known += 1 - inserted
