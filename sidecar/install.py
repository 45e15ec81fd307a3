"""Current SQL -> database: what every upgrade installs around the numbered migrations, online or as
a script.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.resources import sql_root

Execute = Callable[[str], object]
"""Runs one SQL text as it is: its colons and per cent signs are no parameters."""


def run_folder(name: str, execute: Execute) -> None:
    """Executes each file of sql/<name>/ in the order of their names."""
    for path in sorted((sql_root() / name).glob("*.sql")):
        execute(path.read_text(encoding="utf-8"))


def before_migrations(execute: Execute) -> None:
    """Schema, extensions, search_path and lock_timeout for the rest of the transaction."""
    run_folder("setup/narrow", execute)
    run_folder("setup/before", execute)


def after_upgrade(execute: Execute) -> None:
    """Functions and views with their current text, then roles, rights and the loopback."""
    run_folder("functions", execute)
    run_folder("triggers", execute)
    run_folder("setup/narrow", execute)
    run_folder("views", execute)
    run_folder("setup/after", execute)


def after_base(execute: Execute) -> None:
    """Removes what no numbered migration made, once the last one is taken back."""
    run_folder("setup/narrow", execute)
    run_folder("setup/remove", execute)
