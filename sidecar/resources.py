"""Where the SQL texts and the migrations are: inside the installed package, or at the top of a
checkout.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def sql_root() -> Path:
    """The directory with functions/, triggers/, views/ and queries/."""
    return _root("sql")


def migrations_root() -> Path:
    """Alembic's script directory: env.py and versions/."""
    return _root("migrations")


def _root(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _PACKAGE.parent / name
