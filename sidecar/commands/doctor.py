"""`sidecar doctor`: checks of this machine and of the database, each with what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from sidecar.commands.mistakes import explain
from sidecar.commands.place import Data, DatabaseUrl, open_connection, place, settings_with
from sidecar.commands.screen import make_console
from sidecar.errors import SettingsError, SidecarError
from sidecar.settings import BUNDLED_MODEL, Settings

EXAMPLE = "Example:  sidecar doctor && echo all is well"
OLDEST, NEWEST = 14, 18
STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}


class Finding(NamedTuple):
    """One thing that was looked at; `severity` is ok, note, warning or error."""

    severity: str
    finding: str
    mend: str = ""


def doctor(database_url: DatabaseUrl = None, data: Data = None) -> int:
    """Check this machine and the database; exit code 1 where something is an error."""
    settings = settings_with(database_url)
    findings = [find_device(settings), find_model(settings), *find_in_database(settings, data)]
    show(findings)
    return 1 if any(finding.severity == "error" for finding in findings) else 0


def show(findings: list[Finding]) -> None:
    """Severity, finding, and below it what mends it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for severity, finding, mend in findings:
        text = Text(finding)
        if mend:
            text.append(f"\n{mend}", style="bold")
        table.add_row(Text(severity, style=STYLES.get(severity, "")), text)
    make_console().print(table)


def find_device(settings: Settings) -> Finding:
    """What the model would run on."""
    try:
        import torch
    except Exception as error:
        return Finding("error", f"PyTorch cannot be imported: {error}", "pip install torch")
    version = f"PyTorch {torch.__version__}"
    wanted = settings.cuda_device or ""
    if wanted == "cpu":
        return Finding("ok", f"{version}, on the CPU as CUDA_DEVICE says")
    if torch.cuda.is_available():
        index = int(wanted.partition(":")[2] or 0)
        count = torch.cuda.device_count()
        if index < count:
            name = torch.cuda.get_device_name(index)
            return Finding("ok", f"{version}, on cuda:{index} ({name})")
        return Finding("error", f"CUDA_DEVICE={wanted} is not there: {count} are", "CUDA_DEVICE=0")
    if wanted:
        return Finding("error", f"CUDA_DEVICE={wanted}, and {version} sees none", "CUDA_DEVICE=cpu")
    return Finding("ok", f"{version}, on the CPU: no CUDA device is seen")


def find_model(settings: Settings) -> Finding:
    """Whether the model's files are here; nothing is downloaded."""
    from sidecar.checkpoint import CONFIG_FILE, HUB_WEIGHTS, find_checkpoint

    name = settings.model_id
    kind, _, rest = name.partition(":")
    if name == BUNDLED_MODEL or kind == "local-dir":
        try:
            find_checkpoint(name)
        except SidecarError as error:
            return Finding("error", str(error))
        return Finding("ok", f"The model {name} is here")
    if kind == "hf-hub":
        from huggingface_hub import try_to_load_from_cache

        cached = [
            isinstance(try_to_load_from_cache(rest, file), str)
            for file in (CONFIG_FILE, *HUB_WEIGHTS)
        ]
        if cached[0] and any(cached[1:]):
            return Finding("ok", f"The model {name} is in the cache")
        return Finding(
            "note", f"The model {name} is not in the cache: the first `sidecar run` downloads it"
        )
    return Finding(
        "error",
        f"VISION_MODEL_ID={name} names no model",
        "VISION_MODEL_ID=hf-hub:ORG/NAME, local-dir:/path, or bundled",
    )


def find_in_database(settings: Settings, data: Path | None) -> Iterator[Finding]:
    """Whether it answers, its versions, its schema, and what sidecar.doctor() finds there."""
    try:
        with place(settings, data) as found, open_connection(found.url) as connection:
            yield from find_versions(connection)
            schema = find_schema(connection)
            yield schema
            if schema.severity == "error":
                return
            rows = connection.execute("select severity, finding, mend from sidecar.doctor()")
            wrong = [Finding(*row) for row in rows]
            yield from wrong or [Finding("ok", "Every attached column is kept in step")]
    except SettingsError:
        raise
    except Exception as error:
        yield Finding("error", f"The database does not answer: {explain(error)}")


def find_versions(connection: Any) -> Iterator[Finding]:
    """PostgreSQL's and pgvector's."""
    number = connection.info.server_version
    text = connection.info.parameter_status("server_version").split()[0]
    if OLDEST <= number // 10_000 <= NEWEST:
        yield Finding("ok", f"PostgreSQL {text} answers")
    else:
        yield Finding(
            "error", f"PostgreSQL {text} is not supported", f"Use PostgreSQL {OLDEST} to {NEWEST}"
        )
    row = connection.execute(
        "select extversion from pg_extension where extname = 'vector'"
    ).fetchone()
    if row:
        yield Finding("ok", f"pgvector {row[0]}")
    else:
        yield Finding("error", "The extension vector is not there", "CREATE EXTENSION vector;")


def find_schema(connection: Any) -> Finding:
    """The schema's revision against this package's."""
    from alembic.script import ScriptDirectory

    from sidecar.resources import migrations_root

    newest = ScriptDirectory(str(migrations_root())).get_current_head()
    known = connection.execute("select to_regclass('sidecar.alembic_version')").fetchone()
    if known == (None,):
        return Finding("error", "This database has no schema sidecar yet", "sidecar migrate")
    (revision,) = connection.execute("select version_num from sidecar.alembic_version").fetchone()
    if revision == newest:
        return Finding("ok", f"The schema sidecar is at revision {revision}, the newest")
    return Finding(
        "error",
        f"The schema sidecar is at revision {revision}, and this package brings {newest}",
        "sidecar migrate",
    )
