"""The threads behind the event loop: a pool that prepares, with processes that decode pictures for
it, and one that owns the model."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from sidecar import metrics
from sidecar.errors import RowFault
from sidecar.faults import halved
from sidecar.pictures.pool import Decoders
from sidecar.recipe import pooled
from sidecar.records import Call, Embedded, Modality, Origin, Prepared, Source, Vectors
from sidecar.settings import Settings

# Pictures are prepared one by one; texts together, for one takes only some 20 microseconds.
CHUNK: dict[Modality, int] = {"image": 1, "text": 128}
# So few letters are tokenised at once: to hand them to a thread and back would take longer.
FEW_LETTERS = 500

Faults = list[tuple[Origin, RowFault]]


class Threads:
    """Runs prepare and the model without holding the event loop up."""

    def __init__(
        self,
        prepare: Callable[..., Prepared],
        encode: Callable[[Modality, Sequence[torch.Tensor]], Vectors],
        settings: Settings,
    ) -> None:
        self._pictures = Decoders(settings)
        self._prepare_one = prepare
        self._encode_all = encode
        self.seconds = 0.0
        """How long the model took for its last batch."""
        self._decoders = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="prepare")
        self._device = ThreadPoolExecutor(1, thread_name_prefix="model")

    async def prepare(self, sources: list[Source]) -> AsyncIterator[tuple[list[Prepared], Faults]]:
        """Model inputs as they become ready, and the faults of rows that cannot become any."""
        letters = sum(len(s.content) if isinstance(s.content, str) else 1000 for s in sources)
        if letters <= FEW_LETTERS:
            yield self._prepare_some(sources)
            return
        loop = asyncio.get_running_loop()
        jobs = []
        for modality, size in CHUNK.items():
            same = [source for source in sources if source.modality == modality]
            jobs += [
                loop.run_in_executor(self._decoders, self._prepare_some, same[start : start + size])
                for start in range(0, len(same), size)
            ]
        for job in asyncio.as_completed(jobs):
            yield await job

    def _prepare_some(self, sources: list[Source]) -> tuple[list[Prepared], Faults]:
        if not sources:
            return [], []
        with metrics.timed("prepare", sources[0].modality):
            return self._prepare_each(sources)

    def _prepare_each(self, sources: list[Source]) -> tuple[list[Prepared], Faults]:
        prepared: list[Prepared] = []
        faults: Faults = []
        for source in sources:
            if isinstance(source.origin, Call) and source.origin.answer.done():
                continue  # nobody waits for it any more
            try:
                prepared.append(self._prepare_one(source, decode=self._pictures.decode))
            except RowFault as fault:
                faults.append((source.origin, fault))
            except Exception as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                faults.append((source.origin, RowFault("prepare_failed", reason)))
        return prepared, faults

    async def encode(self, batch: list[Prepared]) -> tuple[list[Embedded], Faults]:
        """Vectors for a batch of one modality, and faults of inputs that the model refuses.

        Raises ServiceFault for what the device cannot do.
        """
        embedded: list[Embedded] = []
        faults: Faults = []
        began = time.perf_counter()
        metrics.count_batch(batch[0].modality, len(batch))
        for part, outcome in await halved(self._encode, batch, "model_failed", ()):
            if isinstance(outcome, RowFault):
                faults.append((part[0].origin, outcome))
            else:
                vectors = pooled(outcome, [len(prepared.views) for prepared in part])
                embedded += [
                    Embedded(prepared.origin, vector, prepared.truncated)
                    for prepared, vector in zip(part, vectors, strict=True)
                ]
        self.seconds = time.perf_counter() - began
        return embedded, faults

    async def _encode(self, batch: list[Prepared]) -> Vectors:
        views = [view for prepared in batch for view in prepared.views]
        with metrics.timed("model", batch[0].modality):
            return await asyncio.get_running_loop().run_in_executor(
                self._device, self._encode_all, batch[0].modality, views
            )

    def stop(self) -> None:
        """Lets what runs end by itself; starts nothing more."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._device.shutdown(wait=False, cancel_futures=True)
        self._pictures.stop()
