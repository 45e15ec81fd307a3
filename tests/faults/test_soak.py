"""A short run of the soak: sidecars killed at random under writers. Its exit code says whether a
row was lost, a vector is stale, or the application saw a deadlock.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.checkout import ROOT


@pytest.mark.slow
def test_nothing_is_lost_stale_or_deadlocked_while_sidecars_are_killed() -> None:
    soak = subprocess.run(
        [sys.executable, "-m", "bench.soak", "0.2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert soak.returncode == 0, soak.stdout + soak.stderr
    written = re.search(r"vectors written\D+([\d,]+)", soak.stdout)
    assert written is not None, soak.stdout
    assert int(written[1].replace(",", "")) > 100, soak.stdout
