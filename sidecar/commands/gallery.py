"""The demo's pictures: a folder of drawings whose names say what they show. Always the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sidecar.bundled.drawings import COLOURS, SHAPES, Drawing, draw, random_drawing

FAVOURITES = (
    ("red", "circle"),
    ("blue", "star"),
    ("green", "heart"),
    ("pink", "moon"),
    ("yellow", "arrow"),
)
COPIES = 4
"""Drawings of each of FAVOURITES beyond the one that every colour and shape has."""
BACKGROUND_OF_THE_STAR = "yellow"


def gallery() -> Iterator[tuple[str, Drawing, int]]:
    """(file name, drawing, seed): each colour with each shape once, and more of some."""
    wanted = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    wanted += [pair for pair in FAVOURITES for _ in range(COPIES)]
    for number, (colour, shape) in enumerate(wanted, start=1):
        drawing = replace(random_drawing(number), colour=colour, shape=shape)
        if number > len(COLOURS) * len(SHAPES) and shape == "star":
            drawing = replace(drawing, background=BACKGROUND_OF_THE_STAR)
        if drawing.background == colour:
            drawing = replace(drawing, background="black" if colour == "white" else "white")
        ending = "png" if number % 4 == 0 else "jpg"
        name = f"{colour}-{shape}-on-{drawing.background}-{number:03}.{ending}"
        yield name, drawing, number


def draw_gallery(folder: Path) -> int:
    """Draws what the folder does not hold; returns how many pictures it holds then."""
    folder.mkdir(exist_ok=True)
    count = 0
    for name, drawing, seed in gallery():
        count += 1
        path = folder / name
        if path.exists():
            continue
        image, _ = draw(drawing, seed=seed)
        unfinished = path.with_name(f".{name}.part")
        image.save(unfinished, "PNG" if path.suffix == ".png" else "JPEG", quality=92)
        unfinished.rename(path)
    return count
