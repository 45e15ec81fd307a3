"""A model that costs nothing, so that a benchmark measures everything but the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from sidecar.recipe import Recipe
from sidecar.records import Modality, Vectors

WIDTH = 768


class NullModel:
    """Gives every text and image one of 1,024 ready unit vectors."""

    name = "null"
    width = WIDTH
    device = "cpu"
    recipe = Recipe()

    def __init__(self) -> None:
        vectors = np.random.default_rng(1).standard_normal((1024, WIDTH)).astype(np.float32)
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self._token = torch.zeros(1, dtype=torch.int64)

    def tokenise(self, text: str) -> tuple[torch.Tensor, bool]:
        """One token, whatever the text."""
        return self._token, False

    def transform(self, image: Image.Image) -> torch.Tensor:
        """One pixel, whatever the image."""
        return torch.zeros(3, 1, 1)

    def encode(self, modality: Modality, tensors: Sequence[torch.Tensor]) -> Vectors:
        """The first so many of the ready vectors."""
        return self._vectors[np.arange(len(tensors)) % len(self._vectors)]
