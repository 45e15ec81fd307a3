"""What docs/ says is true: settings, error codes, commands, options, SQL, links."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import psycopg
import pytest

from sidecar.settings import ENVIRONMENT, Settings
from tests.checkout import ROOT, check_command
from tests.cli.terminal import live_sidecar
from tests.cli.test_calls import COMMANDS

DOCS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", DOCS["settings"], flags=re.M))
    assert list(rows) == list(ENVIRONMENT)
    defaults = {field.name: field.default for field in fields(Settings)}
    for name, (field, _) in ENVIRONMENT.items():
        default = defaults[field]
        if default not in (None, ()):
            values = default if isinstance(default, tuple) else (default,)
            shown = ",".join(f"{v:g}" if isinstance(v, float | bool) else str(v) for v in values)
            assert rows[name] == f"`{shown}`", name


def test_every_error_code_has_its_mend() -> None:
    documented = re.findall(
        r"^\| `([a-z_]+)` \| ", DOCS["operate"].partition("## Error codes")[2], re.M
    )
    code = r"""(?:RowFault\(|halved\(.*?,\s*)\s*"([a-z_]+)\""""
    used = set()
    for path in (ROOT / "sidecar").glob("*.py"):
        used |= set(re.findall(code, path.read_text(encoding="utf-8")))
    assert used | {"crashed"} == set(documented)


def test_every_command_is_described_with_an_example_that_exists() -> None:
    assert re.findall(r"^## sidecar (\w+)$", DOCS["commands"], flags=re.M) == [
        "demo",
        "migrate",
        "run",
        "import",
        "search",
        "status",
        "export",
        "doctor",
    ]
    assert set(COMMANDS) == set(re.findall(r"^## sidecar (\w+)$", DOCS["commands"], flags=re.M))


@pytest.mark.parametrize("name", DOCS)
def test_every_command_and_option_that_is_named_exists(name: str) -> None:
    for block in blocks(DOCS[name], "sh"):
        for line in block.splitlines():
            call = re.search(r"(?:^|=\S+ )sidecar (.+)", line.partition("#")[0])
            if call:
                words = shlex.split(re.split(r" && | > ", call[1])[0])
                check_command(words)


@pytest.mark.parametrize("name", DOCS)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", DOCS[name]):
        assert (ROOT / "docs" / target).exists(), target


def test_the_sql_examples_run(database: str, tmp_path: Path) -> None:
    from sidecar.bundled.drawings import draw

    draw(1)[0].save(tmp_path / "picture.png")
    picture = (tmp_path / "picture.png").read_bytes().hex()
    statements = [
        statement.strip()
        for block in blocks(DOCS["sql"], "sql")
        for statement in block.replace(r"\x89504e47", rf"\x{picture}").split(";\n")
        if statement.strip()
    ]
    assert len(statements) > 20
    with live_sidecar(database), psycopg.connect(database, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_every_view_and_every_function_for_users_is_described(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        views = connection.execute(
            "select c.relname from pg_class c"
            " where c.relnamespace = 'sidecar'::regnamespace and c.relkind = 'v'"
        ).fetchall()
    for (view,) in views:
        assert f"sidecar.{view}" in DOCS["sql"], view
    contract = (
        "attach detach pause resume retry reembed embed_text embed_image embed search similar"
        " classify wait explain doctor status failures workers"
    )
    for name in contract.split():
        assert re.search(rf"^### .*sidecar\.{name}\b", DOCS["sql"], flags=re.M), name
