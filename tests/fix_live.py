"""Real sidecars for tests: in a thread with an encoder that costs nothing, or as a process."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import psycopg
import pytest
import torch
from PIL import Image

from sidecar.encoder import Encoder
from sidecar.presence import Presence
from sidecar.recipe import Recipe
from sidecar.records import Modality, Vectors
from sidecar.service import serve
from sidecar.settings import Settings

WIDTH = 768
LONGEST = 400


def content_vector(modality: Modality, data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A unit vector that depends on every byte: equal only for equal contents."""
    seed = int.from_bytes(hashlib.sha256(modality.encode() + data).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
    return vector / np.linalg.norm(vector)


class HashEncoder:
    """An Encoder whose vectors mean nothing and tell any two contents apart."""

    name = "hash"
    width = WIDTH
    device = "cpu"
    recipe = Recipe()

    def __init__(self) -> None:
        self.asked = 0
        self.batches: list[int] = []
        self.fails: Callable[[Sequence[torch.Tensor]], None] = lambda _: None

    def tokenise(self, text: str) -> tuple[torch.Tensor, bool]:
        data = text.encode()
        return torch.tensor(list(data[:LONGEST]), dtype=torch.int64), len(data) > LONGEST

    def transform(self, image: Image.Image) -> torch.Tensor:
        small = image.resize((8, 8))
        return torch.from_numpy(np.asarray(small, dtype=np.float32).transpose(2, 0, 1).copy())

    def encode(self, modality: Modality, tensors: Sequence[torch.Tensor]) -> Vectors:
        self.fails(tensors)
        self.batches.append(len(tensors))
        self.asked += len(tensors)
        return np.stack([content_vector(modality, t.numpy().tobytes()) for t in tensors])


def text_vector(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What HashEncoder makes of a text."""
    return content_vector("text", HashEncoder().tokenise(text)[0].numpy().tobytes())


class Gates:
    """Holds the pipeline at named signals, so that races are reproduced without sleeping."""

    def __init__(self) -> None:
        self._held: dict[str, threading.Event] = {}
        self._reached: dict[str, threading.Event] = {}

    async def __call__(self, name: str) -> None:
        gate = self._held.get(name)
        if gate is not None:
            self._reached[name].set()
            await asyncio.to_thread(gate.wait, 30)

    def hold(self, name: str) -> None:
        """The pipeline stops at the next signal of this name."""
        self._reached[name] = threading.Event()
        self._held[name] = threading.Event()

    def wait(self, name: str) -> None:
        """Returns when the pipeline stands at the signal."""
        assert self._reached[name].wait(20), f"the pipeline never came to {name}"

    def let_go(self, name: str) -> None:
        """The pipeline goes on."""
        self._held.pop(name).set()


class LiveSidecar:
    """serve() in a thread; `crash` leaves everything as kill -9 would, but for the process."""

    def __init__(self, url: str, settings: Settings, encoder: Encoder | None = None) -> None:
        self.encoder = encoder if isinstance(encoder, HashEncoder) else HashEncoder()
        self._model: Encoder = encoder or self.encoder
        self.gates = Gates()
        self.failure: BaseException | None = None
        self._url = url
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> LiveSidecar:
        """Returns when it is ready."""
        self._thread.start()
        while not self._ready.wait(0.05):
            assert self._thread.is_alive(), self.failure
        return self

    def stop(self) -> None:
        """As SIGTERM does; harmless when called again."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        if self.failure:
            raise self.failure

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve(Presence()))
        except BaseException as error:
            self.failure = error

    async def _serve(self, presence: Presence) -> None:
        await serve(
            self._url,
            self._model,
            self._settings,
            self._stop,
            ready=self._ready.set,
            signal=self.gates,
            presence=presence,
        )


Start = Callable[..., LiveSidecar]


@pytest.fixture
def live(database: str) -> Iterator[Start]:
    """live(batch_size=8, ...) -> a ready sidecar for `database` with these settings."""
    with ExitStack() as running:

        def start(url: str | None = None, **settings: Any) -> LiveSidecar:
            sidecar = LiveSidecar(url or database, Settings(**settings)).start()
            running.callback(sidecar.stop)
            return sidecar

        yield start


class SidecarProcess:
    """`sidecar run` as a process of its own, with the bundled model."""

    def __init__(self, url: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", "run"],
            env={
                **os.environ,
                "DATABASE_URL": url,
                "VISION_MODEL_ID": "bundled",
                "SIDECAR_LOG_FORMAT": "json",
                **environment,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if '"event": "ready"' in line:
                self._ready.set()

    def ready(self) -> SidecarProcess:
        """Returns when its log says so."""
        deadline = time.monotonic() + 60
        while not self._ready.wait(0.05):
            assert self.process.poll() is None, "".join(self.log)
            assert time.monotonic() < deadline, "".join(self.log)
        return self

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@pytest.fixture
def sidecar_process(database: str) -> Iterator[Callable[..., SidecarProcess]]:
    """sidecar_process(SIDECAR_LEASE_SECONDS='2') -> `sidecar run` on `database`, not waited for."""
    started: list[SidecarProcess] = []

    def start(url: str | None = None, **environment: str) -> SidecarProcess:
        started.append(SidecarProcess(url or database, **environment))
        return started[-1]

    yield start
    for sidecar in started:
        sidecar.kill()
        sidecar._reader.join()
        assert sidecar.process.stderr is not None
        sidecar.process.stderr.close()


def wait_until_quiet(connection: psycopg.Connection[Any], seconds: float = 30) -> None:
    """Returns when nothing is pending and no backfill is under way."""
    deadline = time.monotonic() + seconds
    while connection.execute(
        "select exists (select from sidecar.pending)"
        " or exists (select from sidecar.attachment where backfill <> 'done')"
    ).fetchone() != (False,):
        assert time.monotonic() < deadline, connection.execute(
            "select * from sidecar.pending limit 5"
        ).fetchall()
        time.sleep(0.02)
