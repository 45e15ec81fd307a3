"""Pictures and texts a second of each back end, against OpenCLIP's own eager network with the same
weights. For onnx, run `sidecar export` first.

Run: python -m bench.encode [model id]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from bench.ground import report
from sidecar.checkpoint import build, find_checkpoint
from sidecar.errors import ServiceFault
from sidecar.model import Model
from sidecar.records import Modality
from sidecar.settings import Settings

BATCHES = (1, 8, 64)
SECONDS = 3.0
TEXT = "a red bicycle with a bell, hardly used, to be fetched in the evening"


def main(model_id: str) -> None:
    engines = {"torch": Model.load(Settings(model_id=model_id, cuda_device="cpu"))}
    try:
        engines["onnx"] = Model.load(Settings(model_id=model_id, backend="onnx"))
    except ServiceFault as fault:
        sys.stderr.write(f"without onnx: {fault}\n")
    network = build(find_checkpoint(model_id), precision="fp32", device="cpu", size=None)
    lines = []
    model = engines["torch"]
    picture = torch.rand(3, *model.size)
    tokens = model.tokenise(TEXT)[0]
    inputs: dict[Modality, torch.Tensor] = {"image": picture, "text": tokens}
    for modality, one in inputs.items():
        for size in BATCHES:
            base = rate(eager(network, modality, one, size), size)
            line = [f"{modality}, batch of {size}", f"{base:,.1f}"]
            for engine in engines.values():
                ours = rate(lambda e=engine, m=modality, o=one, n=size: e.encode(m, [o] * n), size)
                line.append(f"{ours:,.1f} ({ours / base:.2f})")
            lines.append(line)
    report(f"Items/s of {model_id} (ratio)", ["", "OpenCLIP eager", *engines], lines)


def eager(network: Any, modality: str, one: torch.Tensor, size: int) -> Callable[[], object]:
    """What a user of OpenCLIP alone would run."""
    batch = torch.stack([one] * size)

    def run() -> object:
        with torch.no_grad():
            encode = network.encode_image if modality == "image" else network.encode_text
            return encode(batch, normalize=True)

    return run


def rate(call: Callable[[], object], size: int) -> float:
    """Items per second over at least SECONDS."""
    call()
    began = time.perf_counter()
    calls = 0
    while time.perf_counter() - began < SECONDS:
        call()
        calls += 1
    return calls * size / (time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "bundled")
