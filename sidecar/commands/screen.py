"""What commands show: SQL as typed and tables of its answers on stdout, notes on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200
"""Columns where nobody's terminal sets them: wide, so that what is piped on is whole."""

NUMBERS = (int, float, Decimal)


def make_console(stderr: bool = False) -> Console:
    """A console for stdout or stderr as they are now."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False)


def say(text: str | Text = "") -> None:
    """A line to stdout; a long one is left to the terminal to wrap, so that it can be copied."""
    make_console().print(text, markup=False, soft_wrap=True)


def note(line: str) -> None:
    """A dim line to stderr."""
    make_console(stderr=True).print(Text(line, style="dim"), soft_wrap=True)


def warn(line: str) -> None:
    """A line to stderr that should be seen."""
    make_console(stderr=True).print(Text(line, style="yellow"), soft_wrap=True)


def show_sql(statement: str) -> None:
    """A statement in colours, otherwise just as one would type it."""
    console = make_console()
    if console.is_terminal:
        code = Syntax(statement, "postgresql", background_color="default", theme="ansi_dark")
        console.print(code.highlight(statement).copy(), end="", soft_wrap=True)
    else:
        console.print(statement, markup=False, soft_wrap=True)


def make_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table of an answer: numbers to the right, a text that is too long ends in an ellipsis."""
    rows = list(rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for place, name in enumerate(names):
        numeric = any(isinstance(row[place], NUMBERS) for row in rows)
        table.add_column(
            name, justify="right" if numeric else "left", no_wrap=True, overflow="ellipsis"
        )
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    return table


def show_answer(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """An answer as a table, or that there is none."""
    if rows:
        make_console().print(make_table(names, rows))
    else:
        say("(no rows)")


def shown(value: Any) -> str:
    """A value as people read it; bytes by their number."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}" if abs(value) >= 10_000 else str(value)
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"
        case bytes() | memoryview():
            return f"<{len(bytes(value)):,} bytes>"
        case timedelta():
            return duration(value)
        case _:
            return " ".join(str(value).split())


def duration(value: timedelta) -> str:
    """3 s, 4 min 10 s, 2 h 5 min, 3 d 4 h."""
    seconds = max(0, round(value.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"
