"""The wheel stands alone, and the constraints pin all that an install takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import distribution
from pathlib import Path

import psycopg
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_alone_migrates_a_database(tmp_path: Path, empty_database: str) -> None:
    run(
        *(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-index",
            "--no-build-isolation",
            "--no-deps",
        ),
        *("-w", tmp_path / "dist", ROOT),
        cwd=tmp_path,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    home = tmp_path / "venv"
    venv.create(home)
    python = home / "bin" / "python"
    run(
        *(
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            wheel,
        ),
        cwd=tmp_path,
    )
    # The dependencies are those of this environment. A .pth inside a directory that a .pth names
    # is not read, so the editable install of the checkout stays out.
    (package_home,) = home.glob("lib/python*/site-packages")
    (package_home / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    where = run(
        python, "-c", "import sidecar.resources as r; print(r.__file__, r.sql_root())", cwd=tmp_path
    )
    assert all(path.startswith(str(package_home)) for path in where.split())

    run(home / "bin" / "sidecar", "migrate", "--database-url", empty_database, cwd=tmp_path)
    with psycopg.connect(empty_database) as connection:
        assert connection.execute(
            "select to_regprocedure('sidecar.embed_text(text)') is not null"
        ).fetchone() == (True,)


def test_every_dependency_is_pinned_to_what_is_installed() -> None:
    pinned = pins()
    wanted = [
        Requirement(line)
        for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    ]
    seen: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        found = distribution(name)
        if name != PROJECT["name"]:  # whose other extras the tests take
            assert name in pinned, f"{name} is missing in constraints.txt"
            assert pinned[name] == found.version.partition("+")[0], (
                f"{name} is installed in another version"
            )
        extras = requirement.extras or {""}
        for line in found.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras
            ):
                wanted.append(needed)


def test_torch_is_pinned_without_a_build_and_below_the_release_after() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert pins()["torch"] == "2.13.0"
    assert pins()["torchvision"] == "0.28.0"
    assert not re.search(r"\+|://|^-", text, flags=re.M)
    assert "torch>=2.6,<2.14" in PROJECT["dependencies"]
