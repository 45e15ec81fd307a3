"""`sidecar demo`: answers, ends, starts again where it was, whatever ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sidecar import embedded
from sidecar.commands.gallery import gallery
from tests.cli.terminal import read_until, running, sidecar

pytestmark = pytest.mark.slow
PICTURES = sum(1 for _ in gallery())


@pytest.fixture
def data(data_directory: Path) -> Iterator[Path]:
    """The demo's data; a server that a test left running is stopped."""
    yield data_directory / "postgres"
    embedded.start(data_directory / "postgres").stop()


def children(log: Path) -> list[int]:
    """Process ids of sidecars that write to this log."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd" / "1").readlink() == log:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def check_answers(output: str) -> None:
    """The right pictures, below the SQL that asks for them."""
    red = output.partition("'a red circle'")[2].partition("SELECT")[0]
    assert red.count("red-circle-on-") == 3
    star = output.partition("a blue star on a yellow background")[2].partition("SELECT")[0]
    assert star.count("blue-star-on-yellow-") == 3
    assert "green-heart-on-" in output.partition("'a large green heart'")[2]


def vectors(data: Path) -> list[tuple[str, str, str]]:
    """(name, version of the row, vector) of every picture."""
    with embedded.start(data) as server, psycopg.connect(server.url) as connection:
        return connection.execute(
            "select name, xmin::text, photo_embedding::text from pictures order by name"
        ).fetchall()


def test_the_second_start_embeds_nothing_again(data: Path) -> None:
    first = sidecar(
        "demo", "--exit", "--data", data, VISION_MODEL_ID="hf-hub:no/such", VISION_SIZE="96"
    )
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert max(map(len, first.stdout.replace(str(data), "").splitlines()[:-3])) <= 80
    check_answers(first.stdout)
    assert "The bundled model is a demonstration" in first.stdout
    assert "bin/psql" in first.stdout
    before = vectors(data)
    assert len(before) == PICTURES
    second = sidecar("demo", "--exit", "--data", data)
    assert second.returncode == 0, second.stderr
    assert "(0 are new)" in second.stdout
    check_answers(second.stdout)
    assert vectors(data) == before
    assert children(data / "sidecar.log") == []


@pytest.mark.parametrize("moment", ["Migrating", "Drawing", "Inserting", "loading the model"])
def test_a_killed_demo_leaves_no_sidecar_and_starts_again(data: Path, moment: str) -> None:
    with running("demo", "--data", data) as process:
        read_until(process, moment)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while children(data / "sidecar.log"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = sidecar("demo", "--exit", "--data", data)
    assert done.returncode == 0, done.stderr
    check_answers(done.stdout)
    assert len(vectors(data)) == PICTURES


def test_everything_killed_starts_again(data: Path) -> None:
    with running("demo", "--data", data) as process:
        read_until(process, "Inserting")
        server = int((data / "cluster" / "postmaster.pid").read_text().split()[0])
        for pid in (process.pid, *children(data / "sidecar.log"), server):
            os.kill(pid, signal.SIGKILL)
    done = sidecar("demo", "--exit", "--data", data)
    assert done.returncode == 0, done.stderr
    check_answers(done.stdout)


@pytest.mark.parametrize("moment", ["Starting", "Drawing", "bin/psql"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(data: Path, moment: str, number: int) -> None:
    with running("demo", "--data", data) as process:
        read_until(process, moment)
        os.killpg(process.pid, number)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0, rest
        assert "takes up where it was" in rest
        assert "Traceback" not in rest
    assert not (data / "cluster" / "postmaster.pid").exists()
    assert children(data / "sidecar.log") == []


def test_a_sidecar_that_ends_by_itself_ends_the_demo_with_its_last_words(data: Path) -> None:
    with running("demo", "--data", data) as process:
        read_until(process, "bin/psql")
        (child,) = children(data / "sidecar.log")
        os.kill(child, signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "error: The sidecar has ended" in rest
        assert str(data / "sidecar.log") in rest


def test_what_is_inserted_by_hand_is_embedded(data: Path) -> None:
    with running("demo", "--data", data) as process:
        seen = read_until(process, "bin/psql")
        psql = seen.splitlines()[-1].strip()
        sql = (
            "INSERT INTO pictures (name, photo) SELECT 'copy', photo FROM pictures WHERE id = 1;"
            "\nCALL sidecar.wait('pictures');"
            "\nSELECT count(photo_embedding) FROM pictures WHERE name = 'copy';"
        )
        done = subprocess.run(f"{psql} -qAt", shell=True, input=sql, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("1\n", "")
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
