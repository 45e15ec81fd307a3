"""How often the bundled model's best answer is right, on drawings that it was never trained on.

Every question is asked of a pool of drawings, as a user would: the answer is the picture with the
largest cosine. It is right when it has all the attributes that the question names. Questions that
no drawing answers are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sidecar.bundled.captions import ATTRIBUTES, caption
from sidecar.bundled.drawings import Drawing, draw

WIDTH = 768
HELD_OUT = range(900_000, 902_000)
"""Seeds of the measured drawings, below TRAINING_SEEDS and so never trained on."""
POOL = 400
"""Drawings that one question chooses from."""

Vectors = np.ndarray[Any, np.dtype[np.float32]]
EncodeImages = Callable[[Sequence[Image.Image]], Vectors]
EncodeTexts = Callable[[Sequence[str]], Vectors]

QUESTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "a red circle": (("colour", "shape"), "{}"),
    "a photo of a red circle": (("colour", "shape"), "a photo of {}"),
    "red circle": (("colour", "shape"), "bare"),
    "a circle": (("shape",), "{}"),
    "a red shape": (("colour",), "{}"),
    "a red circle on a blue background": (("colour", "shape", "background"), "{}"),
    "a red circle on the left": (("colour", "shape", "place"), "{}"),
    "a small red circle on a blue background on the left": (tuple(ATTRIBUTES), "{}"),
}
"""Example -> the attributes that such questions name, and their form."""


def ask(drawing: Drawing, named: tuple[str, ...], form: str) -> str:
    """The question that names these attributes of the drawing."""
    plain = caption(drawing, named)
    return plain.split(" ", 1)[1] if form == "bare" else form.format(plain)


def top_1(
    drawings: Sequence[Drawing],
    pictures: Vectors,
    encode_texts: EncodeTexts,
    named: tuple[str, ...],
    form: str,
) -> float:
    """Share of the questions, over pools of POOL drawings, whose best picture has every attribute
    in `named`.

    `pictures` (n, width) are the unit vectors of `drawings`. Each pool is asked each question that
    it can answer.
    """
    right = asked = 0
    for start in range(0, len(drawings), POOL):
        pool = drawings[start : start + POOL]
        wanted = {tuple(getattr(d, name) for name in named): ask(d, named, form) for d in pool}
        cosines = encode_texts(list(wanted.values())) @ pictures[start : start + POOL].T
        for values, best in zip(wanted, cosines.argmax(axis=1), strict=True):
            right += tuple(getattr(pool[best], name) for name in named) == values
        asked += len(wanted)
    return right / asked


def measure(encode_images: EncodeImages, encode_texts: EncodeTexts) -> dict[str, float]:
    """Example question -> share of right top-1 answers over the HELD_OUT drawings."""
    pictures, drawings = zip(*(draw(seed) for seed in HELD_OUT), strict=True)
    vectors = encode_images(pictures)
    return {
        example: top_1(drawings, vectors, encode_texts, named, form)
        for example, (named, form) in QUESTIONS.items()
    }


def table(measured: dict[str, float]) -> str:
    """A Markdown table of what `measure` returned."""
    rows = [f"| {example} | {share:.3f} |" for example, share in measured.items()]
    return "\n".join(["| question like | right |", "|---|---|", *rows])
