"""`sidecar run` starts, works and stops; `doctor` sees the difference."""

from __future__ import annotations

import signal
import subprocess
import time

import psycopg
import pytest

from sidecar.bundled.drawings import draw
from tests.cli.terminal import live_sidecar, read_until, running, sidecar


def end(process: subprocess.Popen[str], number: int) -> str:
    """Ends it by a signal; it must exit with 0 within 10 s."""
    began = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_work_ends_it_and_gives_the_leases_back(
    database: str, tmp_path: object, number: int
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table products (id int primary key, photo bytea)")
        connection.execute("select sidecar.attach('products', 'photo', index => 'none')")
        path = f"{tmp_path}/picture.jpg"
        draw(1)[0].resize((1500, 1500)).save(path)  # large, so that it takes a while
        with open(path, "rb") as file:
            connection.execute(
                "insert into products select n, %s from generate_series(1, 600) n", [file.read()]
            )
        with live_sidecar(database) as process:
            leased = "select from sidecar.pending where lease_token is not null limit 1"
            while connection.execute(leased).fetchone() is None:
                time.sleep(0.02)
            end(process, number)
        left = (
            "select key, attempts, lease_until from sidecar.pending where lease_token is not null"
        )
        assert connection.execute(left).fetchall() == []
        counts = connection.execute(
            "select (select count(*) from sidecar.pending), count(photo_embedding) from products"
        ).fetchone()
        assert counts is not None
        assert counts[0] > 0
        assert counts[0] + counts[1] == 600
        assert connection.execute("select count(*) from sidecar.workers").fetchone() == (0,)


def test_a_signal_while_the_model_loads_ends_it(database: str) -> None:
    with running("run", DATABASE_URL=database, VISION_MODEL_ID="bundled") as process:
        read_until(process, "loading_model")
        end(process, signal.SIGTERM)


def test_a_second_ctrl_c_ends_it_at_once(database: str) -> None:
    with live_sidecar(database) as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode in (0, 130)


def test_it_says_what_the_bundled_model_is_before_it_is_ready(database: str) -> None:
    with running("run", DATABASE_URL=database, VISION_MODEL_ID="bundled") as process:
        seen = read_until(process, '"ready"')
        assert "The bundled model is a demonstration" in seen
        end(process, signal.SIGTERM)


def test_a_model_that_is_not_there_is_a_failure_that_names_the_ways_out(database: str) -> None:
    done = sidecar("run", DATABASE_URL=database, VISION_MODEL_ID="local-dir:/no/such/folder")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: Model local-dir:/no/such/folder cannot be loaded")
    assert "VISION_MODEL_ID=bundled" in last
    assert "Traceback" not in done.stderr


def test_doctor_fails_without_a_sidecar_and_is_content_with_one(database: str) -> None:
    settings = {"DATABASE_URL": database, "VISION_MODEL_ID": "bundled"}
    alone = sidecar("doctor", **settings)
    assert alone.returncode == 1
    assert "no sidecar is running" in alone.stdout
    with live_sidecar(database):
        done = sidecar("doctor", **settings)
    assert done.returncode == 0, done.stdout
    assert "The schema sidecar is at revision 0001, the newest" in done.stdout
    assert {line.split()[0] for line in done.stdout.splitlines() if line[0] != " "} == {"ok"}


def test_doctor_of_a_database_that_is_away_or_empty(empty_database: str) -> None:
    away = sidecar("doctor", "--database-url", "postgresql://x@127.0.0.1:1/x")
    assert away.returncode == 1
    assert "The database does not answer" in away.stdout
    empty = sidecar("doctor", DATABASE_URL=empty_database, VISION_MODEL_ID="bundled")
    assert empty.returncode == 1
    assert "sidecar migrate" in empty.stdout


def test_status_watches_until_ctrl_c(database: str) -> None:
    with running("status", "--watch", DATABASE_URL=database) as process:
        time.sleep(3)
        end(process, signal.SIGINT)
