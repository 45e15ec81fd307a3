"""The recipe by which contents become views: crops of a picture, prompts around a text.

A vector is the mean of its views' unit vectors, normalised again (test-time augmentation; prompt
ensembles as in section 3.1.4 of the CLIP paper, arXiv:2103.00020). Recipes change vectors, so each
has a name that is part of the model's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sidecar.records import Vectors
from sidecar.settings import Settings

CROP_SHARE = 7 / 8
"""Side of a crop against the model's input, where TTA_CROP_SIZE does not say."""
TILE_OVERLAP = 0.25
"""Least share of a panorama's tile that its neighbour shows too."""
MOST_TILES = 64
"""A longer strip gets tiles with gaps between them."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Five crops at each scale, or tiles of a panorama; and templates for texts. The default: one
    view."""

    crop_size: int | None = None
    """Side of a crop, pixels of a picture whose short side is `size`; None: no crops."""
    size: int = 1
    """Side of the model's input, pixels."""
    scales: tuple[float, ...] = (1.0,)
    """The picture is looked at this many times as large."""
    panorama: float = 2.6
    """Sides' ratio above which a picture is cut into tiles instead."""
    templates: tuple[str, ...] = ()
    """Each with one %s; none: the text alone."""

    @classmethod
    def of(cls, settings: Settings, size: int) -> Recipe:
        """The recipe that `settings` name for a model whose input is `size` pixels."""
        crop_size = None
        if settings.enable_tta:
            crop_size = min(settings.tta_crop_size or round(size * CROP_SHARE), size)
        return cls(
            crop_size,
            size,
            settings.tta_scales,
            settings.panorama_max_ratio,
            settings.text_templates,
        )

    @property
    def name(self) -> str:
        """What tells it from others: `tta=294@1,panorama=2.6,texts=1f2e3d4c`; empty: one view."""
        parts = []
        if self.crop_size is not None:
            scales = "+".join(f"{scale:g}" for scale in self.scales)
            parts += [f"tta={self.crop_size}@{scales}", f"panorama={self.panorama:g}"]
        if self.templates:
            digest = hashlib.sha256("\n".join(self.templates).encode()).hexdigest()
            parts.append(f"texts={digest[:8]}")
        return ",".join(parts)

    def pictures(self, image: Image.Image) -> list[Image.Image]:
        """Views of an upright picture."""
        if self.crop_size is None:
            return [image]
        short, long = sorted(image.size)
        if long > self.panorama * short:
            return _tiles(image)
        views: list[Image.Image] = []
        for scale in self.scales:
            side = round(short * self.crop_size / self.size / scale)
            views += _five_crops(image, min(max(side, 1), short))
        return views

    def texts(self, text: str) -> list[str]:
        """Views of a text."""
        return [template.replace("%s", text) for template in self.templates] or [text]


def pooled(vectors: Vectors, counts: Sequence[int]) -> Vectors:
    """Unit vectors (len(counts), width) from those of the views (sum(counts), width), in order.

    Raises ValueError where these are not as many.
    """
    if len(vectors) != sum(counts):
        raise ValueError(f"the model gave {len(vectors)} vectors for {sum(counts)} inputs")
    if len(vectors) == len(counts):
        return vectors
    starts = np.cumsum([0, *counts[:-1]])
    sums = np.add.reduceat(vectors, starts, axis=0)
    lengths: Vectors = np.linalg.norm(sums, axis=1, keepdims=True)
    means: Vectors = (sums / np.maximum(lengths, 1e-12)).astype(np.float32)
    return means


def _five_crops(image: Image.Image, side: int) -> list[Image.Image]:
    right, bottom = image.width - side, image.height - side
    corners = [(0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2)]
    return [image.crop((x, y, x + side, y + side)) for x, y in corners]


def _tiles(image: Image.Image) -> list[Image.Image]:
    short, long = sorted(image.size)
    count = math.ceil((long - short) / (short * (1 - TILE_OVERLAP))) + 1
    count = min(count, MOST_TILES)
    starts = [round(number * (long - short) / (count - 1)) for number in range(count)]
    if image.width == long:
        return [image.crop((start, 0, start + short, short)) for start in starts]
    return [image.crop((0, start, short, start + short)) for start in starts]
