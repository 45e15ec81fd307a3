"""Prometheus' own checker, promtool: the system's, or taken out of Debian's package `prometheus`
without being root and without installing it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from platformdirs import user_cache_path

MISSING = (
    "promtool is needed and could not be had: put it on PATH, on Debian with"
    " `apt-get install prometheus`"
)


def unpack(target: Path, work: Path) -> None:
    """Puts Debian's promtool at `target`. With lists of its own, where the machine has none."""
    work.chmod(0o755)
    lists = work / "lists"
    (lists / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={work}"]
    reasons = []
    for steps in (
        [["apt-get", "download", "prometheus"]],
        [["apt-get", *own, "update"], ["apt-get", *own, "download", "prometheus"]],
    ):
        done = [
            subprocess.run(step, cwd=work, capture_output=True, text=True, timeout=240)
            for step in steps
        ]
        if packages := list(work.glob("prometheus_*.deb")):
            subprocess.run(["dpkg-deb", "-x", packages[0], work / "found"], check=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(f"{target.name}.{os.getpid()}")
            shutil.copy(work / "found" / "usr" / "bin" / "promtool", aside)
            aside.rename(target)
            return
        reasons += [step.stderr.strip() for step in done]
    pytest.fail(f"{MISSING}: {'; '.join(reasons)}")


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program. Fails where it cannot be had: what it checks must not go unchecked."""
    if found := shutil.which("promtool"):
        return Path(found)
    kept = user_cache_path("sidecar-tests") / "promtool"
    if not kept.exists():
        if not shutil.which("apt-get"):
            pytest.fail(MISSING)
        unpack(kept, tmp_path_factory.mktemp("promtool"))
    return kept
