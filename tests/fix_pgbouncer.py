"""PgBouncer in transaction mode, as Debian 12 packages it, in front of a test's database.

The system's, where one is installed; else Debian's package, fetched once a run and unpacked beside
the servers, with nothing installed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from sidecar.embedded import Server
from sidecar.programs import choose_account
from tests.fix_postgres import ROOT

PACKAGES = ("pgbouncer", "libevent-2.1-7", "libc-ares2")
CONFIGURATION = """
[databases]
* = host={socket} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
{more}
"""


def find_program(root: Path) -> Path:
    """The system's pgbouncer, or a copy that this run unpacked."""
    if found := shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin"):
        return Path(found)
    unpacked = root / "pgbouncer" / "files"
    with (root / "pgbouncer.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not unpacked.exists():
            fetch(root / "pgbouncer", unpacked)
    return unpacked / "usr/sbin/pgbouncer"


def fetch(directory: Path, unpacked: Path) -> None:
    """Debian's packages; with a package list of its own where the system has none."""
    directory.mkdir(exist_ok=True)
    (directory / "lists").mkdir(exist_ok=True)
    own = ("-o", f"Dir::State::lists={directory}/lists", "-o", f"Dir::Cache={directory}")
    download = ("apt-get", "-q", "download", *PACKAGES)
    done = subprocess.run(download, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        subprocess.run(("apt-get", "-q", *own, "update"), cwd=directory, capture_output=True)
        done = subprocess.run((*download, *own), cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, f"install the package pgbouncer: {done.stderr}"
    making = directory / "making"
    for package in directory.glob("*.deb"):
        subprocess.run(("dpkg", "-x", package, making), check=True)
    for path in making.rglob("*"):
        path.chmod(path.stat().st_mode | 0o055)
    making.chmod(0o755)
    directory.chmod(0o755)
    making.rename(unpacked)


class Pooler:
    """A running PgBouncer. `log` is what it said."""

    def __init__(self, program: Path, url: str, users: tuple[str, ...], more: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._path = parts.path
        self._directory = Path(tempfile.mkdtemp(prefix="sidecar-pooler-"))
        self._directory.chmod(0o755)
        names = "".join(f'"{user}" ""\n' for user in users)
        (self._directory / "users").write_text(names)
        configuration = self._directory / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(
                socket=query["host"][0],
                port=query["port"][0],
                listen_port=self.port,
                directory=self._directory,
                more=more,
            )
        )
        self._command = [program, configuration]
        self._start()

    def _start(self) -> None:
        account = choose_account(self._directory / "none")
        found = next(self._command[0].parents[1].glob("lib/*/libevent-2.1.so.7*"), None)
        libraries = {"LD_LIBRARY_PATH": str(found.parent)} if found else {}
        root = os.geteuid() == 0
        with (self._directory / "log").open("a") as log:
            self.process = subprocess.Popen(
                self._command,
                env=libraries,
                stderr=log,
                user=account.uid if root else None,
                group=account.gid if root else None,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                assert self.process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                time.sleep(0.05)

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text()

    def url(self, user: str = "postgres") -> str:
        """The same database through the pooler."""
        return f"postgresql://{user}@127.0.0.1:{self.port}{self._path}"

    def restart(self) -> None:
        """Ends every connection through it at once; returns when it answers again."""
        self.process.kill()
        self.process.wait()
        self._start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self._directory)


StartPooler = Callable[..., Pooler]


@pytest.fixture
def pooler(pytestconfig: pytest.Config, postgres: Server, database: str) -> Iterator[StartPooler]:
    """pooler('role', more='max_client_conn = 9') -> PgBouncer in front of `database`."""
    program = find_program(pytestconfig.stash[ROOT])
    with ExitStack() as running:

        def start(*users: str, url: str | None = None, more: str = "") -> Pooler:
            started = Pooler(program, url or database, ("postgres", *users), more)
            running.callback(started.stop)
            return started

        yield start
