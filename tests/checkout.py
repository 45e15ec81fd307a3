"""What several tests read: the checkout, its README, and the commands that there really are."""

from __future__ import annotations

import re
import shlex
import sysconfig
from pathlib import Path
from typing import Any

import typer

from sidecar.cli import app

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))


def code_blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language, in order."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", readme, flags=re.M | re.S)
    return [text for found, text in blocks if found == language]


def check_command(words: list[str]) -> None:
    """Fail where `sidecar WORDS...` names a command or an option that does not exist."""
    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    name, *rest = words
    assert name in commands, f"`sidecar {shlex.join(words)}`: no such command"
    known = {
        option
        for parameter in commands[name].params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    known.add("--help")
    for word in rest:
        if word.startswith("-"):
            assert word.partition("=")[0] in known, (
                f"`sidecar {shlex.join(words)}`: no option {word}"
            )
