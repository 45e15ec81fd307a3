"""Trains the bundled model, measures it on new drawings and writes it.

One command: `python -m sidecar.bundled.train`, a quarter of an hour on two cores. Same seed, same
drawings, same captions in the same order; the last digits of the weights depend on the machine.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sidecar.bundled import WEIGHTS, accuracy, export
from sidecar.bundled.captions import ATTRIBUTES, caption, some_attributes
from sidecar.bundled.drawings import COLOURS, SHAPES, TRAINING_SEEDS, Drawing, draw
from sidecar.bundled.losses import UNNAMED, AttributeHeads, contrast, fits
from sidecar.texts import shortened

DRAWINGS = 30_000
BATCH = 96
PAIRS = 60
"""Of the 120 colours with shapes, how many a batch asks for beside its own captions."""
STEPS = 1_800
WARM_UP_STEPS = 100
LEARNING_RATE = 2.5e-3
WEIGHT_DECAY = 0.02
HEADS_SHARE = 0.5
"""Weight of the attribute heads' loss beside the contrast of pictures and captions."""
MAX_LOGIT_SCALE = math.log(100)
"""CLIP's own limit of the temperature."""


@dataclass(frozen=True)
class World:
    """The training drawings: pixels (n, 3, 72, 72) uint8, attributes' indices (n, 5) int64."""

    pixels: Tensor
    values: Tensor
    drawings: list[Drawing]


def draw_world(count: int, resize: Any) -> World:
    """`count` drawings from TRAINING_SEEDS up, made as small as the model sees them by `resize`."""
    pixels, drawings = [], []
    for seed in range(TRAINING_SEEDS, TRAINING_SEEDS + count):
        picture, drawing = draw(seed)
        pixels.append(np.asarray(resize(picture)))
        drawings.append(drawing)
    values = torch.tensor([attribute_values(drawing, tuple(ATTRIBUTES)) for drawing in drawings])
    return World(
        torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), values, drawings
    )


def attribute_values(drawing: Drawing, named: tuple[str, ...]) -> list[int]:
    """The index of each attribute's value in ATTRIBUTES, UNNAMED for those not in `named`."""
    return [
        values.index(getattr(drawing, name)) if name in named else UNNAMED
        for name, values in ATTRIBUTES.items()
    ]


def batches(
    world: World, steps: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, list[str], Tensor]]:
    """Indices of BATCH pictures, BATCH + PAIRS captions, and the values that they name.

    A batch's captions are one of each picture, then PAIRS that name a colour and a shape: the
    questions to come.
    """
    pairs = [
        Drawing(colour, shape, "small", "white", "centre") for colour in COLOURS for shape in SHAPES
    ]
    left: list[int] = []
    for _ in range(steps):
        if len(left) < BATCH:
            left = rng.permutation(len(world.drawings)).tolist()
        chosen, left = left[:BATCH], left[BATCH:]
        said = [(world.drawings[index], some_attributes(rng)) for index in chosen]
        said += [
            (pairs[index], ("colour", "shape")) for index in rng.permutation(len(pairs))[:PAIRS]
        ]
        captions = [caption(drawing, named, rng) for drawing, named in said]
        values = torch.tensor([attribute_values(drawing, named) for drawing, named in said])
        yield torch.tensor(chosen), captions, values


def optimisers(model: nn.Module, heads: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon (in torch since 2.9) for the matrices of the blocks, AdamW for all the rest."""
    matrices = [w for name, w in model.named_parameters() if "blocks." in name and w.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    rest = [
        weight for weight in [*model.parameters(), *heads.parameters()] if id(weight) not in chosen
    ]
    return [
        torch.optim.Muon(
            matrices, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98)),
    ]


def rate(step: int, steps: int) -> float:
    """Share of LEARNING_RATE: linear warm-up, then half a cosine down to nothing."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)))


def read_texts(model: Any, tokens: Tensor) -> Tensor:
    """The text tower's output (n, 768) float32 for `tokens` (n, context)."""
    with shortened(model, tokens) as short:
        read: Tensor = model.encode_text(short).float()
    return read


def losses(
    model: Any,
    heads: nn.ModuleList,
    pixels: Tensor,
    values: Tensor,
    tokens: list[Tensor],
    named: Tensor,
) -> tuple[Tensor, Tensor]:
    """The contrast of pictures with captions, and the attribute heads' loss, both scalar.

    `pixels` (n, 3, 72, 72) show `values` (n, 5); the captions, m in all, `tokens` in parts of alike
    length, name `named` (m, 5).
    """
    with torch.autocast("cpu", torch.bfloat16):
        seen = model.encode_image(pixels).float()
        read = torch.cat([read_texts(model, part) for part in tokens])
    cosines = nn.functional.normalize(seen, dim=-1) @ nn.functional.normalize(read, dim=-1).T
    apart = contrast(cosines * model.logit_scale.exp(), fits(values, named))
    return apart, heads[0](seen, values) + heads[1](read, named)


def train(model: Any, tokenizer: Any, transform: Any, steps: int, drawings: int, seed: int) -> None:
    """Trains OpenCLIP's `model` in place and prints a line every hundred steps."""
    shorter_side, middle, *_, normalise = transform.transforms
    world = draw_world(drawings, lambda picture: middle(shorter_side(picture)))
    heads = nn.ModuleList([AttributeHeads(accuracy.WIDTH), AttributeHeads(accuracy.WIDTH)])
    by_turns = optimisers(model, heads)
    rng = np.random.default_rng(seed)
    started = time.monotonic()
    model.train()
    for step, (chosen, captions, named) in enumerate(batches(world, steps, rng)):
        for optimiser in by_turns:
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * rate(step, steps)
            optimiser.zero_grad()
        pixels = normalise(world.pixels[chosen].float() / 255)
        tokens = [tokenizer(part) for part in (captions[: len(chosen)], captions[len(chosen) :])]
        apart, told = losses(model, heads, pixels, world.values[chosen], tokens, named)
        (apart + HEADS_SHARE * told).backward()  # type: ignore[no-untyped-call]
        for optimiser in by_turns:
            optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        if step % 100 == 99:
            told_so_far = f"contrast {apart:.3f}  attributes {told:.3f}"
            say(f"{step + 1:5} {time.monotonic() - started:6.0f} s  {told_so_far}")
    model.eval()


def say(line: str) -> None:
    """Prints a line at once, also into a file."""
    print(line, flush=True)  # noqa: T201


def unit_vectors(features: Tensor) -> accuracy.Vectors:
    """float32 (n, 768) of unit length."""
    vectors: accuracy.Vectors = nn.functional.normalize(features.float(), dim=-1).numpy()
    return vectors


@torch.inference_mode()
def measure(directory: Path) -> dict[str, float]:
    """What `accuracy.measure` returns for the weights written in `directory`."""
    model, tokenizer, transform = export.opened(directory)
    return accuracy.measure(
        lambda pictures: unit_vectors(
            torch.cat([model.encode_image(transform(picture)[None]) for picture in pictures])
        ),
        lambda texts: unit_vectors(model.encode_text(tokenizer(list(texts)))),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, trains, writes the model and prints what it measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=WEIGHTS, help="directory to write (default: the package)"
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--drawings", type=int, default=DRAWINGS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    started = time.monotonic()
    model, tokenizer, transform = export.create(given.output)
    train(model, tokenizer, transform, given.steps, given.drawings, given.seed)
    seconds = time.monotonic() - started
    export.write_weights(model, given.output)
    measured = measure(given.output)
    export.write_card(given.output, measured, seconds=seconds, steps=given.steps, batch=BATCH)
    say(accuracy.table(measured))


if __name__ == "__main__":
    main()
