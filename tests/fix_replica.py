"""A primary and a standby of it, made by pg_basebackup and streaming; both listen on TCP too."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from sidecar import embedded, migrate
from sidecar.embedded import Server

FAST = {"listen_addresses": "127.0.0.1", "fsync": "off", "shared_buffers": "32MB"}


@dataclass(frozen=True)
class Pair:
    """Two servers; the database is `sidecar`, migrated."""

    primary: Server
    standby: Server

    def catch_up(self) -> None:
        """Returns when the standby has replayed what the primary has written by now."""
        with psycopg.connect(self.primary.url) as connection:
            row = connection.execute("select pg_current_wal_lsn()").fetchone()
        assert row is not None
        deadline = time.monotonic() + 30
        with psycopg.connect(self.standby.url, autocommit=True) as connection:
            while connection.execute(
                "select pg_last_wal_replay_lsn() >= %s", [row[0]]
            ).fetchone() != (True,):
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def point_loopback(self) -> None:
        """What docs/operate.md tells an operator to run on the primary."""
        ports = ",".join(port(server) for server in (self.primary, self.standby))
        with psycopg.connect(self.primary.url, autocommit=True) as connection:
            connection.execute(
                "alter server sidecar_loopback options (add host '127.0.0.1,127.0.0.1',"
                f" add port '{ports}', add target_session_attrs 'read-write')"
            )
        self.catch_up()

    def promote(self) -> None:
        """The primary dies, and the standby takes over."""
        data = self.primary.cluster.path
        self.primary.cluster.programs.run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        with psycopg.connect(self.standby.url, autocommit=True) as connection:
            connection.execute("select pg_promote()")


def port(server: Server) -> str:
    """The one that a server listens on."""
    return server.url.rpartition("port=")[2]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def replicated(data_directory: Path) -> Iterator[Pair]:
    """A migrated primary and its hot standby."""
    with ExitStack() as servers:
        settings = {**FAST, "port": free_port()}
        primary = embedded.start(data_directory / "a", settings=settings)
        servers.enter_context(primary)
        migrate.upgrade(primary.url)
        programs = primary.cluster.programs
        copy = data_directory / "b"
        copy.mkdir(mode=0o700)
        programs.account.own(copy)
        place = psycopg.conninfo.conninfo_to_dict(primary.url)
        done = programs.run(
            "pg_basebackup",
            *("-D", copy / "cluster", "-U", "postgres", "-h", str(place["host"])),
            *("-p", port(primary), "-X", "stream", "-c", "fast", "--no-sync", "-R"),
        )
        assert done.returncode == 0, done.stderr
        standby = embedded.start(copy, settings={**FAST, "port": free_port()})
        servers.enter_context(standby)
        yield Pair(primary, standby)
