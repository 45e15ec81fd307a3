"""Each signal times kill -9, and times SIGSTOP past the lease with SIGCONT: real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest

from tests.faults.ground import INSIDE, SIGNALS, Ground
from tests.faults.process import Sidecar
from tests.fix_faults import Kept, NewGround

Start = Callable[..., Sidecar]


@pytest.fixture
def ground(kept: Kept, new_ground: NewGround) -> Ground:
    def make(stack: ExitStack) -> tuple[Ground, Ground]:
        ground = new_ground(stack)
        return ground, ground

    ground: Ground = kept.get("ground", make)
    return ground


@pytest.fixture
def start(ground: Ground) -> Iterator[Start]:
    """start(held='after_claim') -> a ready sidecar on the ground, with short leases."""
    with ExitStack() as started:

        def begin(held: str = "", **settings: Any) -> Sidecar:
            sidecar = Sidecar(ground.url, held, lease_seconds=0.6, max_attempts=50, **settings)
            started.callback(sidecar.kill)
            return sidecar

        yield begin


@pytest.mark.parametrize("signal", SIGNALS)
def test_kill_9(ground: Ground, start: Start, injected: Callable[[str], None], signal: str) -> None:
    injected("kill -9")
    first = start(held=signal)
    ground.hold(first, signal)
    cell = ground.begin()
    ground.wait(first, signal)
    application = cell.act()
    first.send(SIGKILL)
    start()
    if signal == INSIDE:  # the server has not noticed, and goes on with what it was told
        ground.let_go(first, signal)
    cell.end(application)


@pytest.mark.parametrize("signal", SIGNALS)
def test_stopped_past_its_lease_and_continued(
    ground: Ground, start: Start, injected: Callable[[str], None], signal: str
) -> None:
    injected("SIGSTOP")
    first = start(held=signal)
    ground.hold(first, signal)
    cell = ground.begin()
    ground.wait(first, signal)
    application = cell.act()
    first.send(SIGSTOP)
    second = start()
    if signal == INSIDE:
        ground.let_go(first, signal)
    application.join(40)
    ground.until(lambda: not ground.scalar("select exists (select from sidecar.pending)"), "stuck")
    # It comes back with results of a lease that ran out, for rows that changed since, and has to
    # serve alone what comes next.
    second.kill()
    ground.connection.execute("update note set body = body || ', newer'")
    first.send(SIGCONT)
    if signal != INSIDE:
        ground.let_go(first, signal)
    cell.end(application)
