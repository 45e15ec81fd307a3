"""Each signal times each fault of the way to the database, and of its resources: dropped, stalled
and half-closed connections, terminated backends, disk full, out of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest

from sidecar.settings import Settings
from tests.faults.ground import SIGNALS, Ground
from tests.fix_faults import Kept, NewGround
from tests.fix_live import LiveSidecar
from tests.fix_proxy import Proxy, proxy_to

TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and application_name = 'sidecar'
"""


@dataclass
class Place:
    """A sidecar that reaches its database by way of the proxy."""

    ground: Ground
    proxy: Proxy
    sidecar: LiveSidecar


@pytest.fixture
def place(kept: Kept, new_ground: NewGround, role: Callable[..., str]) -> Place:
    def make(stack: ExitStack) -> tuple[Place, Ground]:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("sidecar.ledger.REFUSED_DELAY", 0.2)
        patch.setattr("sidecar.bell.PROBE", 1.0)
        ground = new_ground(stack)
        port = parse_qs(urlsplit(ground.url).query)["port"][0]
        proxy = stack.enter_context(proxy_to(int(port)))
        settings = Settings(lease_seconds=2.0, max_attempts=50, statement_seconds=1.0)
        sidecar = LiveSidecar(proxy.url(role(ground.url, "superuser")), settings).start()
        stack.callback(sidecar.stop)
        return Place(ground, proxy, sidecar), ground

    place: Place = kept.get("place", make)
    return place


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("fault", ["drop", "half_close", "stall"])
def test_the_connection_is_cut(
    place: Place, injected: Callable[[str], None], signal: str, fault: str
) -> None:
    ground, proxy, gates = place.ground, place.proxy, place.sidecar.gates
    injected(fault)
    ground.hold(gates, signal)
    cell = ground.begin()
    ground.wait(gates, signal)
    application = cell.act()
    getattr(proxy, fault)()
    ground.let_go(gates, signal)
    ground.until(lambda: proxy.hits > 0, "nothing ran into the fault")
    proxy.heal()
    cell.end(application)


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_backend_is_terminated(
    place: Place, injected: Callable[[str], None], signal: str
) -> None:
    ground, gates = place.ground, place.sidecar.gates
    injected("backend terminated")
    ground.hold(gates, signal)
    cell = ground.begin()
    ground.wait(gates, signal)
    application = cell.act()
    ground.connection.execute(TERMINATE)
    ground.let_go(gates, signal)
    cell.end(application)


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(("fault", "code"), [("disk full", "53100"), ("out of memory", "53200")])
def test_the_database_has_no_room(
    place: Place, injected: Callable[[str], None], signal: str, fault: str, code: str
) -> None:
    ground, gates = place.ground, place.sidecar.gates
    injected(fault)
    ground.hold(gates, signal)
    cell = ground.begin()
    ground.wait(gates, signal)
    application = cell.act()
    raised = ground.fail(code)
    ground.let_go(gates, signal)
    ground.until(lambda: ground.failed_since(raised), "nothing ran into the fault")
    ground.fail(None)
    cell.end(application)
