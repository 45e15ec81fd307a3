"""One data directory of the embedded PostgreSQL: makes it, brings its server up, and takes it down.

Knows what a killed server leaves behind. Who may do this when is up to embedded.py: its lock is
held during every call that changes something.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import ServiceFault
from sidecar.programs import Programs

SUPERUSER = "postgres"
START_SECONDS = 120.0
"""Longest wait for a server that recovers from a crash, s."""
SOCKET_PATH_BYTES = 100
"""Longest socket path that every system takes, bytes (Linux: 107, macOS: 103)."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """DIR/cluster is PostgreSQL's own data directory, DIR/log its log, and the socket is in DIR."""

    data: Path
    programs: Programs

    @property
    def path(self) -> Path:
        """PostgreSQL's data directory."""
        return self.data / "cluster"

    @property
    def postmaster(self) -> int | None:
        """The server's process id; None without a server."""
        lines = self._postmaster_file()
        return int(lines[0]) if lines else None

    def initialise(self) -> None:
        """Make what is missing: initdb beside the final place, so that what is there is whole."""
        if self.path.exists():
            self._check_version()
            return
        making = self.data / "cluster.new"
        if making.exists():
            shutil.rmtree(making)
        locale = ["--locale=C"]
        if self.programs.major >= 17:  # Unicode rules that do not depend on the system's libraries
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        made = self.programs.run(
            "initdb",
            *("-D", making, "-U", SUPERUSER, "--auth-local=trust", "--auth-host=scram-sha-256"),
            *("--encoding=UTF8", "--no-instructions", *locale),
        )
        if made.returncode != 0:
            raise ServiceFault(
                f"PostgreSQL cannot make a database in {self.data}: {_last_lines(made.stderr)}"
            )
        making.rename(self.path)

    def bring_up(self, settings: Mapping[str, str]) -> tuple[str, int]:
        """Socket directory and port of a server that answers: the one that runs, or a new one."""
        deadline = time.monotonic() + START_SECONDS
        while (address := self._answering(deadline)) is None:
            trouble = self._launch(settings)
            if trouble is None:
                continue
            if not self._passes(trouble) or time.monotonic() > deadline:
                raise ServiceFault(
                    f"PostgreSQL does not start in {self.data}: {_last_lines(trouble)}; "
                    f"all is in {self.data / 'log'}"
                )
            time.sleep(0.1)
        return address

    def take_down(self) -> None:
        """Stop the server, and end its connections; harmless without one."""
        if self.postmaster is None:
            return
        limit = f"{START_SECONDS:.0f}"
        done = self.programs.run("pg_ctl", "-D", self.path, "-m", "fast", "-t", limit, "stop")
        if done.returncode != 0 and self._answering(time.monotonic()):
            raise ServiceFault(
                f"PostgreSQL does not stop in {self.data}: {_last_lines(done.stderr)}"
            )
        sockets = self._socket_directory()
        if sockets != self.data:
            with contextlib.suppress(OSError):
                sockets.rmdir()

    def _check_version(self) -> None:
        made_by = (self.path / "PG_VERSION").read_text().strip()
        if made_by != str(self.programs.major):
            raise ServiceFault(
                f"the data directory {self.data} was made by PostgreSQL {made_by}, and this is "
                f"PostgreSQL {self.programs.major}: choose another with --data DIR, and carry the "
                f"data over with pg_dump of PostgreSQL {made_by}"
            )

    def _launch(self, settings: Mapping[str, str]) -> str | None:
        """Start a server in a session of its own, so that it outlives us; on failure, its log."""
        log = self.data / "log"
        before = log.stat().st_size if log.exists() else 0
        options = {**settings, "unix_socket_directories": str(self._socket_directory())}
        line = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
        limit = f"{START_SECONDS:.0f}"
        started = self.programs.run(
            "pg_ctl", "-D", self.path, "-l", log, "-o", line, "-t", limit, "start"
        )
        if started.returncode == 0:
            return None
        if not log.exists():
            return started.stderr or "no message"
        with log.open(errors="replace") as text:
            text.seek(before)
            return text.read() or started.stderr or "no message"

    def _passes(self, trouble: str) -> bool:
        """Whether another try can succeed: what a killed server left goes away, or is removed."""
        if "pre-existing shared memory block" in trouble:
            return True  # its orphans notice within moments that it is gone
        found = re.search(r'lock file "(.+)" already exists', trouble)
        if found is None:
            return False
        lock = self.path / found[1]
        try:
            pid = int(lock.read_text().split()[0])
            runs_in = Path(f"/proc/{pid}/cwd").resolve(strict=True)
        except (OSError, IndexError, ValueError):
            return True
        if runs_in != self.path:  # by now another program's id, which PostgreSQL cannot know
            lock.unlink(missing_ok=True)
        return True

    def _answering(self, deadline: float) -> tuple[str, int] | None:
        """Where a server takes connections; one that starts or stops is waited for."""
        while len(lines := self._postmaster_file()) > 4:
            host, port = lines[4].strip(), int(lines[3])
            ready = self.programs.run("pg_isready", "-h", host, "-p", str(port)).returncode
            if ready != 1:
                return (host, port) if ready == 0 else None
            if time.monotonic() > deadline:
                raise ServiceFault(
                    f"PostgreSQL in {self.data} still starts or stops: try again in a minute"
                )
            time.sleep(0.1)
        return None

    def _postmaster_file(self) -> list[str]:
        """pid, data directory, start time, port, socket directory, ...: as far as written."""
        try:
            return (self.path / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _socket_directory(self) -> Path:
        """DIR; where its path is too long for a socket, a private one among the temporary ones."""
        if len(os.fsencode(self.data / ".s.PGSQL.65535")) <= SOCKET_PATH_BYTES:
            return self.data
        account = self.programs.account
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        short = Path(tempfile.gettempdir()) / f"sidecar-{account.uid}-{digest}"
        try:
            short.mkdir(mode=0o700)
            account.own(short)
        except FileExistsError:
            found = short.lstat()
            if found.st_uid != account.uid or short.is_symlink() or found.st_mode & 0o077:
                raise ServiceFault(
                    f"{short} belongs to another account: choose a shorter path with --data DIR"
                ) from None
        return short


def _last_lines(text: str, count: int = 3) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-count:]) or "no message"
