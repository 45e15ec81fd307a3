"""Brings a database to the current schema, or back, by Alembic with this package's migrations."""

from __future__ import annotations

from typing import TextIO

from alembic import command
from alembic.config import Config

from sidecar.resources import migrations_root


def _config(url: str | None, output: TextIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(migrations_root()).replace("%", "%%"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Upgrades the database at `url` (libpq URL) to the newest schema; a second call only
    re-installs functions."""
    command.upgrade(_config(url), "head")


def downgrade(url: str, revision: str = "base") -> None:
    """Takes the schema back to `revision`; `base` leaves only the user's own tables and vectors."""
    command.downgrade(_config(url), revision)


def upgrade_script(output: TextIO) -> None:
    """Writes the whole upgrade from an empty database as one SQL script."""
    command.upgrade(_config(None, output), "head", sql=True)
