"""A sidecar that is a process of its own, to be killed and stopped, with an encoder that costs
nothing and with named signals.

It is forked from a server that has imported everything, so that a start takes no second.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

from sidecar.service import serve
from sidecar.settings import Settings
from tests.fix_live import HashEncoder

READY = "ready"
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.faults.process"])


class Sidecar:
    """serve() in a process; as `gates` it is held at one signal at a time."""

    def __init__(
        self, url: str, held: str = "", encoder: type[HashEncoder] = HashEncoder, **settings: Any
    ) -> None:
        self._ours, theirs = context.Pipe()
        self.process = context.Process(target=_run, args=(url, held, encoder, settings, theirs))
        self.process.start()
        theirs.close()
        self._expect(READY)

    def hold(self, name: str) -> None:
        """Said when it was started: the signal must be known before it is ready."""

    def wait(self, name: str) -> None:
        """Returns when it stands at the signal."""
        self._expect(name)

    def let_go(self, name: str) -> None:
        """It goes on, and stops at no signal any more."""
        self._ours.send(name)

    def _expect(self, message: str) -> None:
        assert self._ours.poll(60), f"it never came to {message}"
        assert self._ours.recv() == message

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """kill -9; harmless when called again."""
        self.process.kill()
        self.process.join(20)
        self._ours.close()


def _run(
    url: str, held: str, encoder: type[HashEncoder], settings: dict[str, Any], pipe: Connection
) -> None:
    holding = [held]

    async def gate(name: str) -> None:
        if name in holding:
            holding.clear()
            pipe.send(name)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(
        serve(
            url,
            encoder(),
            Settings(**settings),
            asyncio.Event(),
            ready=lambda: pipe.send(READY),
            signal=gate,
        )
    )
