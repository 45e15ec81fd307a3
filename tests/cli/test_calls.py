"""Exit codes, help and errors: 2 for a wrong call, 1 for a failure, one line with the next step."""

from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest

from sidecar import __version__
from tests.cli.terminal import environment, error_line, sidecar

COMMANDS = ("demo", "migrate", "run", "import", "search", "status", "export", "doctor")
NOWHERE = "postgresql://somebody:secret@127.0.0.1:1/nothing"


def test_version_is_printed() -> None:
    assert sidecar("--version").stdout == f"sidecar {__version__}\n"


def test_help_lists_every_command() -> None:
    done = sidecar("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(command: str) -> None:
    done = sidecar(command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"sidecar {command}" in done.stdout.partition("Example")[2]


def test_help_imports_neither_torch_nor_a_driver() -> None:
    code = (
        "import sys, sidecar.cli;"
        " print({'torch', 'asyncpg', 'psycopg', 'sqlalchemy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stderr


def test_no_command_prints_the_help_and_is_a_wrong_call() -> None:
    done = sidecar()
    assert done.returncode == 2
    assert "Usage: sidecar" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["serch"],
        ["search"],
        ["status", "--wach"],
        ["search", "pictures", "a cat", "-k", "0"],
        ["search", "pictures", "@no-such-file.jpg"],
        ["import", "no-such-folder"],
        ["status", "--database-url", "mysql://localhost/shop"],
        ["status", "--database-url", NOWHERE, "--data", "/tmp/somewhere"],
        ["migrate", "--sql", "--down-to", "base"],
    ],
)
def test_a_wrong_call_is_one_line(arguments: list[str]) -> None:
    error_line(sidecar(*arguments), 2)


def test_a_misspelt_option_points_to_the_help() -> None:
    assert "sidecar status --help" in error_line(sidecar("status", "--wach"), 2)


def test_a_misspelt_setting_is_a_wrong_call() -> None:
    done = sidecar("status", DATABASE_URL=NOWHERE, SIDECAR_BACTH_SIZE="3")
    assert "did you mean SIDECAR_BATCH_SIZE?" in error_line(done, 2)


@pytest.mark.parametrize("command", [["status"], ["migrate"], ["search", "pictures", "a cat"]])
def test_a_database_that_is_away_is_a_failure(command: list[str]) -> None:
    line = error_line(sidecar(*command, "--database-url", NOWHERE), 1)
    assert "Connection refused" in line
    assert "Check DATABASE_URL or --database-url" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "command", [["status"], ["run"], ["search", "pictures", "a cat"], ["import", "."]]
)
def test_a_database_that_is_not_migrated_names_migrate(
    command: list[str], empty_database: str
) -> None:
    line = error_line(sidecar(*command, DATABASE_URL=empty_database), 1)
    assert "run `sidecar migrate` first" in line


def test_the_databases_hint_is_shown(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table products (id int primary key, photo bytea)")
    line = error_line(sidecar("search", "products", "a cat", DATABASE_URL=database), 1)
    assert "products is not attached" in line
    assert "SELECT sidecar.attach('public.products', '<column>');" in line


def test_a_wrong_password_is_one_line_and_run_does_not_wait(database: str, role: object) -> None:
    assert callable(role)
    url = role(database).replace("@127", "x@127")
    for command in (["status"], ["run"]):
        line = error_line(sidecar(*command, DATABASE_URL=url), 1)
        assert "password authentication failed" in line


def test_debug_shows_the_traceback(database: str) -> None:
    done = sidecar("--debug", "search", "products", "a cat", DATABASE_URL=database)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_output_into_a_pipe_that_closes_is_no_error(database: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "migrate", "--sql"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) in (0, 1)
