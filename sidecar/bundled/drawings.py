"""The world that the bundled model knows: one coloured shape on a plain background. Seed ->
picture.

The same seed always gives the same picture. Training uses the seeds from TRAINING_SEEDS up;
everything below is never trained on, so a picture drawn from a small seed is new to the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 220, 50),
    "green": (50, 160, 70),
    "turquoise": (60, 205, 200),
    "blue": (45, 90, 210),
    "purple": (135, 60, 170),
    "pink": (250, 150, 190),
    "brown": (125, 80, 45),
    "black": (25, 25, 25),
    "grey": (128, 128, 128),
    "white": (245, 245, 245),
}
"""Name -> sRGB; every drawing moves each channel by at most COLOUR_JITTER."""

SIZES: dict[str, float] = {"small": 0.15, "large": 0.24}
"""Name -> radius of the shape as a share of the picture's side."""

PLACES: dict[str, tuple[float, float]] = {
    "centre": (0.5, 0.5),
    "left": (0.3, 0.5),
    "right": (0.7, 0.5),
    "top": (0.5, 0.3),
    "bottom": (0.5, 0.7),
}
"""Name -> middle of the shape (x, y) as shares of the picture's side."""

COLOUR_JITTER = 10
NOISE = 8
"""Largest change of one channel of one pixel, of 255."""
TURN = 15.0
"""Largest rotation, degrees; below the 45 that would make a square look like a diamond."""
OVERSAMPLING = 2
TRAINING_SEEDS = 1_000_000
"""The first seed that training may use."""

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a picture shows; the shape's colour and the background's differ."""

    colour: str
    shape: str
    size: str
    background: str
    place: str


def _round(radius: float, x: float = 0.0, y: float = 0.0) -> Points:
    turns = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    return [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in turns]


def _star() -> Points:
    corners = []
    for i in range(10):
        radius, angle = (0.42 if i % 2 else 1.0), math.pi * (i / 5 - 0.5)
        corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    return corners


def _heart() -> Points:
    # The classic heart curve: x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t.
    turns = [2 * math.pi * i / 64 for i in range(64)]
    across = [16 * math.sin(t) ** 3 for t in turns]
    up = [
        13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        for t in turns
    ]
    return [(x / 17, -y / 17) for x, y in zip(across, up, strict=True)]


def _cross(arm: float = 0.3) -> Points:
    corner = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    quarter_turns: list[Points] = [corner]
    for _ in range(3):
        quarter_turns.append([(-y, x) for x, y in quarter_turns[-1]])
    return [point for quarter in quarter_turns for point in quarter]


SHAPES: dict[str, tuple[Points, Points]] = {
    "circle": (_round(0.92), []),
    "square": ([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)], []),
    "triangle": ([(0.0, -1.0), (0.95, 0.75), (-0.95, 0.75)], []),
    "star": (_star(), []),
    "heart": (_heart(), []),
    "cross": (_cross(), []),
    "ring": (_round(0.95), _round(0.55)),
    "moon": (_round(0.95), _round(0.85, 0.5, -0.1)),
    "arrow": (
        [(1, 0), (0.15, -0.85), (0.15, -0.3), (-1, -0.3), (-1, 0.3), (0.15, 0.3), (0.15, 0.85)],
        [],
    ),
    "diamond": ([(0.0, -1.0), (0.6, 0.0), (0.0, 1.0), (-0.6, 0.0)], []),
}
"""Name -> outline and hole, in units of the radius, y downwards."""


def random_drawing(seed: int) -> Drawing:
    """What `draw(seed)` shows: all uniform, the background never of the shape's colour."""
    rng = np.random.default_rng((seed, 0))
    colour = str(rng.choice(list(COLOURS)))
    return Drawing(
        colour=colour,
        shape=str(rng.choice(list(SHAPES))),
        size=str(rng.choice(list(SIZES))),
        background=str(rng.choice([name for name in COLOURS if name != colour])),
        place=str(rng.choice(list(PLACES))),
    )


def draw(what: int | Drawing, *, seed: int = 0, pixels: int = 144) -> tuple[Image.Image, Drawing]:
    """An RGB picture of (pixels, pixels) and what it shows.

    `what` is a seed, or the attributes; with attributes, `seed` varies place, turn, tint and noise
    a little.
    """
    drawing, seed = (random_drawing(what), what) if isinstance(what, int) else (what, seed)
    rng = np.random.default_rng((seed, 1))
    side = pixels * OVERSAMPLING
    mask = _mask(drawing, rng, side).reduce(OVERSAMPLING)
    background = Image.new("RGB", (pixels, pixels), _tint(drawing.background, rng))
    background.paste(_tint(drawing.colour, rng), (0, 0), mask)
    noise = rng.integers(-NOISE, NOISE + 1, (pixels, pixels, 3), dtype=np.int16)
    noisy = np.clip(np.asarray(background, dtype=np.int16) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(noisy), drawing


def _mask(drawing: Drawing, rng: np.random.Generator, side: int) -> Image.Image:
    angle = math.radians(rng.uniform(-TURN, TURN))
    radius = SIZES[drawing.size] * rng.uniform(0.9, 1.1) * side
    middle_x, middle_y = (
        share * side + rng.uniform(-0.03, 0.03) * side for share in PLACES[drawing.place]
    )

    def filled(points: Points) -> Image.Image:
        layer = Image.new("L", (side, side), 0)
        cos, sin = math.cos(angle) * radius, math.sin(angle) * radius
        turned = [(middle_x + x * cos - y * sin, middle_y + x * sin + y * cos) for x, y in points]
        ImageDraw.Draw(layer).polygon(turned, fill=255)
        return layer

    outline, hole = SHAPES[drawing.shape]
    return ImageChops.subtract(filled(outline), filled(hole)) if hole else filled(outline)


def _tint(colour: str, rng: np.random.Generator) -> tuple[int, int, int]:
    moved = np.array(COLOURS[colour]) + rng.integers(-COLOUR_JITTER, COLOUR_JITTER + 1, 3)
    red, green, blue = (int(channel) for channel in np.clip(moved, 0, 255))
    return red, green, blue
