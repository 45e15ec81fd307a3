"""`sidecar search`: prints the SQL of a similarity search, and what it returns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidecar.commands.place import Data, DatabaseUrl, migrated
from sidecar.commands.screen import note, say, show_answer, show_sql
from sidecar.errors import SettingsError

if TYPE_CHECKING:
    import psycopg

EXAMPLE = (
    "Examples:  sidecar search pictures 'a red circle' -k 5\n\nsidecar search pictures @bicycle.jpg"
)
# The server writes the statement, so that every name and text is quoted as it must be, and no more.
WRITE = """
select format(
  'SELECT %%s, round(distance::numeric, 3) AS distance
FROM sidecar.search(NULL::%%s, %%s, k => %%s%%s);',
  (
    select coalesce(
      string_agg(format('(item).%%I', a.attname), ', ' order by a.attnum),
      'item IS NOT NULL AS found'
    )
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    where a.attrelid = %(table)s::regclass and a.attnum > 0 and not a.attisdropped
      and t.typname not in ('bytea', 'vector', 'halfvec', 'sparsevec', 'bit')
  ),
  %(table)s::regclass,
  case when %(image)s then '$1' else quote_literal(%(question)s) end,
  %(k)s::int,
  ', source_column => ' || quote_literal(%(column)s::text)
)
"""


def search(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="Name as in SQL.", show_default=False)
    ],
    question: Annotated[
        str,
        typer.Argument(
            metavar="QUESTION", help="A text, or @FILE for a picture.", show_default=False
        ),
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="How many rows.")] = 10,
    column: Annotated[
        str | None, typer.Option(help="The attached column, where the table has several.")
    ] = None,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Print the rows nearest to a text or a picture, and the SQL that finds them."""
    image = read_image(question)
    with migrated(database_url, data) as connection:
        statement = write_statement(connection, table, question, k, column, image)
        show_sql(statement)
        if image is not None:
            note(f"-- $1: the {len(image):,} bytes of {question[1:]}")
        say()
        names, rows = ask(connection, statement, image)
        show_answer(names, rows)


def read_image(question: str) -> bytes | None:
    """The bytes of @FILE; None where the question is a text."""
    if not question.startswith("@"):
        return None
    path = Path(question[1:]).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The picture {path} cannot be read ({error.strerror}): name a file after the @."
        ) from error


def write_statement(
    connection: psycopg.Connection[Any],
    table: str,
    question: str,
    k: int,
    column: str | None,
    image: bytes | None,
) -> str:
    """The search as SQL; of the row, the columns that people can read."""
    row = connection.execute(
        WRITE,
        {
            "table": table,
            "question": question,
            "k": k,
            "column": column,
            "image": image is not None,
        },
    ).fetchone()
    assert row is not None
    return str(row[0])


def ask(
    connection: psycopg.Connection[Any], statement: str, image: bytes | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a statement that was written by the server or is in this package."""
    import psycopg

    if image is None:
        cursor = connection.execute(statement.encode())
    else:
        with psycopg.RawCursor(connection) as raw:
            raw.execute(statement.encode(), [image])
            return [column.name for column in raw.description or ()], raw.fetchall()
    return [column.name for column in cursor.description or ()], cursor.fetchall()
