"""What the pipeline asks of a model: Model is one; a benchmark brings one that costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from PIL import Image

from sidecar.recipe import Recipe
from sidecar.records import Modality, Vectors


class Encoder(Protocol):
    """Two towers that map images and texts to unit vectors of one width."""

    name: str
    width: int
    device: str
    recipe: Recipe

    def tokenise(self, text: str) -> tuple[torch.Tensor, bool]:
        """Token ids (context,) int64, and whether the text lost its end."""
        ...

    def transform(self, image: Image.Image) -> torch.Tensor:
        """An RGB picture as (3, height, width) float32."""
        ...

    def encode(self, modality: Modality, tensors: Sequence[torch.Tensor]) -> Vectors:
        """Unit vectors (n, width) float32. Raises ServiceFault for what the device cannot do."""
        ...
