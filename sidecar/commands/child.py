"""A sidecar as a child process. It ends with us, however we end: it holds a pipe that closes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import ServiceFault
from sidecar.settings import BUNDLED_MODEL, ENVIRONMENT

KEPT = ("CUDA_DEVICE",)
"""Settings of ours that the child takes over; the others could not suit the bundled model."""
STOP_SECONDS = 15.0


@dataclass(slots=True)
class Child:
    """A running `sidecar run`, and where its log is."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def expect_alive(self) -> None:
        """Raises ServiceFault with the last words of one that has ended."""
        if self.process.poll() is not None:
            raise self.fault()

    def watch(self) -> None:
        """Returns never; raises ServiceFault when the child ends by itself."""
        self.process.wait()
        raise self.fault()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to one that does not listen."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def fault(self) -> ServiceFault:
        lines = self.log.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no message")
        return ServiceFault(f"The sidecar has ended: {last.strip()}; all is in {self.log}")


def start_child(url: str, log: Path) -> Child:
    """Starts `sidecar run` with the bundled model; out of reach of the terminal's Ctrl-C."""
    environment = {
        name: value for name, value in os.environ.items() if name in KEPT or name not in ENVIRONMENT
    }
    environment |= {
        "DATABASE_URL": url,
        "VISION_MODEL_ID": BUNDLED_MODEL,
        "SIDECAR_LOG_FORMAT": "human",
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", "run", "--until-stdin-closes"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(process, log)
