"""The command `sidecar`: arguments in, an exit code out: 0 well, 1 a failure, 2 a wrong call.

An error is one line on stderr that names the next step; a traceback is shown with --debug alone.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from sidecar import __version__
from sidecar.commands import (
    demo,
    doctor,
    exporting,
    importing,
    migrating,
    running,
    searching,
    status,
)
from sidecar.commands.mistakes import explain, sentences
from sidecar.errors import SettingsError

app = typer.Typer(
    name="sidecar",
    help="Keeps vector columns of PostgreSQL in step with image and text columns.",
    epilog="Start with: sidecar demo",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
app.command("migrate", epilog=migrating.EXAMPLE)(migrating.migrate)
app.command("run", epilog=running.EXAMPLE)(running.run)
app.command("import", epilog=importing.EXAMPLE)(importing.import_folder)
app.command("search", epilog=searching.EXAMPLE)(searching.search)
app.command("status", epilog=status.EXAMPLE)(status.status)
app.command("export", epilog=exporting.EXAMPLE)(exporting.export)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sidecar {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """Keeps vector columns of PostgreSQL in step with image and text columns."""
    context.obj["debug"] = debug
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Runs the command line of this process, and exits."""
    state: dict[str, Any] = {"debug": False}
    try:
        code = typer.main.get_command(app)(prog_name="sidecar", standalone_mode=False, obj=state)
        sys.stdout.flush()
    except typer.TyperException as error:
        call = getattr(getattr(error, "ctx", None), "command_path", "sidecar")
        fail(sentences(error.format_message(), f"see: {call} --help"), 2)
    except typer.Abort:
        fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except SettingsError as error:
        fail(explain(error), 2)
    except Exception as error:
        if state["debug"]:
            raise
        fail(explain(error), 1)
    sys.exit(code if isinstance(code, int) else 0)


def fail(line: str, code: int) -> None:
    """Prints the one line of an error, and exits."""
    sys.stderr.write(f"error: {' '.join(line.split())}\n")
    sys.exit(code)
