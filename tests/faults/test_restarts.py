"""Each signal times a restart of the database, fast and immediate."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from sidecar import embedded, migrate
from sidecar.embedded import Server
from sidecar.settings import Settings
from tests.faults.ground import SIGNALS, Ground
from tests.fix_faults import Kept
from tests.fix_live import LiveSidecar

# What the application committed must be there after a crash; what the sidecar did may be lost.
SETTINGS = {"fsync": "off", "shared_buffers": "32MB", "max_connections": "50"}


@dataclass
class Place:
    server: Server
    ground: Ground
    sidecar: LiveSidecar


@pytest.fixture
def place(kept: Kept) -> Place:
    def make(stack: ExitStack) -> tuple[Place, Ground]:
        directory = Path(tempfile.mkdtemp(prefix="sidecar-restart-"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)
        server = stack.enter_context(embedded.start(directory, settings=SETTINGS))
        migrate.upgrade(server.url)
        ground = Ground(server.url)
        stack.callback(ground.close)
        sidecar = LiveSidecar(ground.url, Settings(lease_seconds=2.0, max_attempts=50)).start()
        stack.callback(sidecar.stop)
        return Place(server, ground, sidecar), ground

    place: Place = kept.get("place", make)
    return place


def restart(server: Server, mode: str) -> None:
    cluster = server.cluster
    log = cluster.data / "log"
    done = cluster.programs.run(
        "pg_ctl", "-D", cluster.path, "-l", log, "-m", mode, "-t", "60", "restart"
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_database_is_restarted(
    place: Place, injected: Callable[[str], None], signal: str, mode: str
) -> None:
    ground, gates = place.ground, place.sidecar.gates
    injected(f"restart {mode}")
    ground.hold(gates, signal)
    cell = ground.begin()
    ground.wait(gates, signal)
    application = cell.act()
    restart(place.server, mode)
    with pytest.raises(psycopg.OperationalError):
        ground.connection.execute("select 1")
    ground.close()
    ground.connect()
    ground.let_go(gates, signal)
    cell.end(application, answered=False)
