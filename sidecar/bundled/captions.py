"""What people say about a drawing. Drawing -> caption, naming some of its attributes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from sidecar.bundled.drawings import COLOURS, PLACES, SHAPES, SIZES, Drawing

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "shape": tuple(SHAPES),
    "size": tuple(SIZES),
    "background": tuple(COLOURS),
    "place": tuple(PLACES),
}
"""Attribute -> its values. The order is that of `Drawing`'s fields and of every table of values."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "grey": ("grey", "gray"),
    "purple": ("purple", "violet"),
    "turquoise": ("turquoise", "cyan"),
    "moon": ("moon", "crescent"),
    "cross": ("cross", "plus"),
    "diamond": ("diamond", "rhombus"),
    "small": ("small", "little", "tiny"),
    "large": ("large", "big"),
}
"""Word -> how training says it; the first is the word itself and is said three times as often as
each other."""

OPENINGS = ("", "", "", "a photo of ", "a picture of ", "an image of ", "a drawing of ")
WHERE: dict[str, tuple[str, ...]] = {
    "centre": ("in the centre", "in the center", "in the middle"),
    "left": ("on the left",),
    "right": ("on the right",),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
}
BACKGROUNDS = ("on a {} background", "on a {} background", "on {}", "with a {} background")


def caption(
    drawing: Drawing,
    named: Collection[str] = ("colour", "shape"),
    rng: np.random.Generator | None = None,
) -> str:
    """A caption that names the attributes `named` only; with `rng` in varied words."""
    words = [_word(drawing.size, rng)] if "size" in named else []
    words += [_word(drawing.colour, rng)] if "colour" in named else []
    words.append(_word(drawing.shape, rng) if "shape" in named else "shape")
    phrase = " ".join(words)
    if rng is None or rng.random() < 0.8:
        phrase = _article(phrase)
    if rng is not None:
        phrase = str(rng.choice(OPENINGS)) + phrase
    endings = []
    if "background" in named:
        name = _word(drawing.background, rng)
        form = BACKGROUNDS[0] if rng is None else str(rng.choice(BACKGROUNDS))
        endings.append(form.format(name).replace(" a orange", " an orange"))
    if "place" in named:
        forms = WHERE[drawing.place]
        endings.append(forms[0] if rng is None else str(rng.choice(forms)))
    if rng is not None:
        rng.shuffle(endings)
    return " ".join([phrase, *endings])


def some_attributes(rng: np.random.Generator) -> tuple[str, ...]:
    """What a training caption names: colour and shape in two of five, else any one to five."""
    if rng.random() < 0.4:
        return ("colour", "shape")
    count = int(rng.integers(1, len(ATTRIBUTES) + 1))
    return tuple(str(name) for name in rng.choice(list(ATTRIBUTES), count, replace=False))


def _word(word: str, rng: np.random.Generator | None) -> str:
    synonyms = SYNONYMS.get(word, (word,))
    if rng is None or len(synonyms) == 1:
        return word
    return str(rng.choice((word, word, *synonyms)))


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase
