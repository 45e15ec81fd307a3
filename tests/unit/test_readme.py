"""What the README says is true: its commands run, its SQL returns what it shows, its links lead
somewhere.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from sidecar.settings import ENVIRONMENT
from tests.checkout import ROOT, SCRIPTS, check_command, code_blocks

README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO, OWN_DATABASE, TESTS = code_blocks("sh")


def clean_environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ENVIRONMENT} | more


@contextmanager
def running(*command: str | Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A program of ours in a process group of its own, ended by Ctrl-C; it must end cleanly."""
    process = subprocess.Popen(
        [str(part) for part in command],
        env=clean_environment(**environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0, rest
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    """The output up to the line that holds `wanted`."""
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if wanted in line:
            return seen
    raise AssertionError(f"{wanted!r} is missing in:\n{seen}")


def test_it_is_short() -> None:
    assert README.count("\n") < 200


def test_the_demo_command_makes_an_environment_from_the_constraints() -> None:
    make, install, demo = DEMO.strip().split(" && ")
    assert make == "python3 -m venv .venv"
    assert install == ".venv/bin/pip install -q -c constraints.txt -e ."
    assert demo == ".venv/bin/sidecar demo"


@pytest.mark.slow
def test_the_demo_finds_the_red_circle_and_ends_on_ctrl_c_and_starts_again(
    data_directory: Path,
) -> None:
    program, *arguments = shlex.split(DEMO.strip().split(" && ")[-1])
    command: list[str | Path] = [SCRIPTS / Path(program).name, *arguments]
    command += ["--data", data_directory / "postgres"]
    for _ in range(2):
        with running(*command) as process:
            assert "a red circle" in read_until(process, "bin/psql")


def test_ci_runs_the_test_command() -> None:
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == TESTS.strip()


def test_the_sql_example_returns_what_it_shows(empty_database: str) -> None:
    migrate, run = re.findall(r"^sidecar (\w+)", OWN_DATABASE, flags=re.M)
    environment = {"DATABASE_URL": empty_database, "VISION_MODEL_ID": "bundled"}
    subprocess.run([SCRIPTS / "sidecar", migrate], env=clean_environment(**environment), check=True)
    (script,) = code_blocks("sql")
    (shown,) = code_blocks("text")
    wanted = [tuple(cell.strip() for cell in line.split("|")) for line in shown.splitlines()[2:]]
    with running(SCRIPTS / "sidecar", run, **environment, SIDECAR_LOG_FORMAT="json") as process:
        read_until(process, "ready")
        with psycopg.connect(empty_database, autocommit=True) as connection:
            for statement in script.split(";\n"):
                if statement.strip():
                    answer = connection.execute(statement.strip().encode())
            assert [tuple(map(str, row)) for row in answer.fetchall()] == wanted


def test_every_command_and_option_exists() -> None:
    for words in re.findall(r"`sidecar ([a-z][^`]*)`", README):
        check_command(shlex.split(words))


def test_every_setting_exists() -> None:
    for name in re.findall(r"`([A-Z]+_[A-Z_]+)`", README):
        assert name in ENVIRONMENT, name


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
