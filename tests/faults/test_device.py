"""Each signal times CUDA out of memory, in the real model: the network raises what PyTorch does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from sidecar.model import Model
from sidecar.settings import Settings
from tests.faults.ground import SIGNALS, Ground
from tests.fix_faults import Kept, NewGround
from tests.fix_live import LiveSidecar


class Device:
    """The bundled model's text tower, which has no memory while `full`."""

    def __init__(self) -> None:
        self.model = Model.load(Settings(model_id="bundled"))
        self._judge = Model.load(Settings(model_id="bundled"))  # a model belongs to one thread
        self.full = False
        self.refused = 0
        self._encode_text: Callable[..., Any] = self.model._network.encode_text
        self.model._network.encode_text = self._run

    def _run(self, *arguments: Any) -> Any:
        if self.full:
            self.refused += 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self._encode_text(*arguments)

    def vector(self, text: str) -> Any:
        return self._judge.encode("text", [self._judge.tokenise(text)[0]])[0]


@dataclass
class Place:
    ground: Ground
    sidecar: LiveSidecar
    device: Device


@pytest.fixture
def place(kept: Kept, new_ground: NewGround) -> Place:
    def make(stack: ExitStack) -> tuple[Place, Ground]:
        device = Device()
        ground = new_ground(stack, vector=device.vector)
        settings = Settings(lease_seconds=2.0, max_attempts=2)
        sidecar = LiveSidecar(ground.url, settings, device.model).start()
        stack.callback(sidecar.stop)
        return Place(ground, sidecar, device), ground

    place: Place = kept.get("place", make)
    return place


@pytest.mark.parametrize("signal", SIGNALS)
def test_cuda_is_out_of_memory(place: Place, injected: Callable[[str], None], signal: str) -> None:
    ground, gates, device = place.ground, place.sidecar.gates, place.device
    injected("CUDA out of memory")
    ground.hold(gates, signal)
    cell = ground.begin()
    ground.wait(gates, signal)
    application = cell.act()
    device.full, refused = True, device.refused
    ground.let_go(gates, signal)
    # What was past the model when the fault came is joined by one that is not.
    ground.connection.execute("insert into note values (%s, 'late', 0)", [cell.first + 60])
    ground.until(lambda: device.refused > refused, "nothing ran into the fault")
    device.full = False
    cell.end(application, answered=False)
