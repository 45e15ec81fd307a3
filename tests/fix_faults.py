"""Grounds on which faults strike, and the count of the faults that were survived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sidecar.embedded import Server
from tests.faults.ground import Ground
from tests.fix_postgres import TEMPLATE, fresh_database

INJECTED = "fault injected"
NewGround = Callable[..., Ground]


class Kept:
    """What cells share, made when one first asks, and made anew after a cell that failed."""

    def __init__(self) -> None:
        self._things: dict[str, tuple[Any, Ground, ExitStack]] = {}

    def get(self, name: str, make: Callable[[ExitStack], tuple[Any, Ground]]) -> Any:
        """What `make` returned with its ground, whose cells all ended well."""
        kept = self._things.get(name)
        if kept is not None and not kept[1].whole:
            kept[2].close()
            kept = None
        if kept is None:
            with ExitStack() as stack:
                thing, ground = make(stack)
                kept = self._things[name] = thing, ground, stack.pop_all()
        return kept[0]

    def close(self) -> None:
        for _, _, stack in self._things.values():
            stack.close()


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    """kept.get('name', make) -> the same thing for every cell of a file."""
    things = Kept()
    yield things
    things.close()


@pytest.fixture(scope="session")
def new_ground(postgres: Server) -> NewGround:
    """new_ground(stack, vector=...) -> a ground of its own, gone when the stack closes."""

    def make(stack: ExitStack, **options: Any) -> Ground:
        ground = Ground(stack.enter_context(fresh_database(postgres, TEMPLATE)), **options)
        stack.callback(ground.close)
        return ground

    return make


@pytest.fixture
def injected(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """injected('kill') notes a fault; the run's summary counts those whose test passed."""
    return lambda fault: record_property(INJECTED, fault)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line: how many faults were injected, and how many of them were survived."""
    faults: dict[str, list[bool]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties if report.when == "call" else ():
                if name == INJECTED:
                    faults.setdefault(str(value), []).append(outcome == "passed")
    if not faults:
        return
    survived = sum(map(sum, faults.values()))
    kinds = ", ".join(f"{name} {sum(ends)}/{len(ends)}" for name, ends in sorted(faults.items()))
    total = sum(map(len, faults.values()))
    terminalreporter.write_line(f"faults: {total} injected, {survived} survived ({kinds})")
