"""Alembic's entry: migrates, and installs the current functions and views, in one transaction."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import create_engine, pool, text

from sidecar.errors import SettingsError
from sidecar.install import after_base, after_upgrade, before_migrations
from sidecar.settings import read_settings

steps: list[Any] = []


def note_step(*, step: Any, **_: Any) -> None:
    steps.append(step)


def run() -> None:
    """One transaction: prepare, migrate, install. `alembic current` and the like only look, and
    `stamp` only notes."""
    with context.begin_transaction():
        lend_password()
        if changes():
            before_migrations(execute)
        context.run_migrations()
        if not changes() or any(step.is_stamp for step in steps):
            return
        if all(step.is_upgrade for step in steps):
            after_upgrade(execute)
        elif reaches_base():
            after_base(execute)


def lend_password() -> None:
    """The password of whoever migrates, for the loopback, until the transaction ends: through a
    pooler others use the session next."""
    if not context.is_offline_mode():
        bind = context.get_bind()
        bind.execute(
            text("select pg_catalog.set_config('sidecar.loopback_password', :password, true)"),
            {"password": bind.engine.url.password or ""},
        )


def changes() -> bool:
    """Whether the command goes to some revision."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def execute(statement: str) -> None:
    """Runs a text as it is, or writes it into the script of --sql."""
    if context.is_offline_mode():
        context.get_context().impl.static_output(f"{statement.rstrip().rstrip(';')};\n")
    else:
        context.get_bind().exec_driver_sql(statement, execution_options={"no_parameters": True})


def reaches_base() -> bool:
    if context.is_offline_mode():
        return context.get_revision_argument() in (None, "base", ())
    return not context.get_context().get_current_heads()


options: dict[str, Any] = {
    "version_table_schema": "sidecar",
    "version_table": "alembic_version",
    "on_version_apply": note_step,
}

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
    run()
else:
    url = context.config.attributes.get("url") or read_settings().database_url
    if url is None:
        raise SettingsError(
            "DATABASE_URL is not set; set it to postgresql://user:password@host:5432/database"
        )
    from sidecar.database import sqlalchemy_url

    # Through a pooler, a prepared statement would be left in a session that others use next.
    # And SQLAlchemy's own look for hstore would find operators that anybody made.
    engine = create_engine(
        sqlalchemy_url(url),
        poolclass=pool.NullPool,
        use_native_hstore=False,
        connect_args={"prepare_threshold": None},
    )
    with engine.connect() as connection:
        context.configure(connection=connection, **options)
        run()
    engine.dispose()
