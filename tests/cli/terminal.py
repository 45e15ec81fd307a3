"""Runs the command line as a process of its own, as users do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.settings import ENVIRONMENT
from tests.checkout import ROOT

Done = subprocess.CompletedProcess[str]


def environment(**settings: str) -> dict[str, str]:
    """This process's, with no settings of the sidecar but these."""
    ours = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    return ours | {"PYTHONPATH": str(ROOT)} | settings


def sidecar(*arguments: str | Path, **settings: str) -> Done:
    """A command that comes to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sidecar", *map(str, arguments)],
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
    )


def error_line(done: Done, code: int) -> str:
    """The only line on stderr of a command that failed with this code."""
    assert done.returncode == code, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@contextmanager
def running(*arguments: str | Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until somebody ends it; a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", *map(str, arguments)],
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
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


@contextmanager
def live_sidecar(url: str) -> Iterator[subprocess.Popen[str]]:
    """`sidecar run` with the bundled model, ready."""
    with running("run", DATABASE_URL=url, VISION_MODEL_ID="bundled") as process:
        read_until(process, '"ready"')
        yield process
