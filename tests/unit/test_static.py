"""Linters and type checker, as tests."""

from __future__ import annotations

import subprocess

import pytest

from tests.checkout import ROOT, SCRIPTS


@pytest.mark.parametrize("command", ["ruff check", "ruff format --check", "mypy", "lint-imports"])
def test_is_clean(command: str) -> None:
    program, *arguments = command.split()
    done = subprocess.run([SCRIPTS / program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
