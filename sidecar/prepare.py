"""Source -> Prepared: transforms pictures, tokenises texts. Runs on a thread pool; never touches
device or database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from PIL import Image

from sidecar.errors import RowFault
from sidecar.recipe import Recipe
from sidecar.records import Prepared, Source


class Inputs(Protocol):
    """What of a model this stage needs."""

    recipe: Recipe

    def tokenise(self, text: str) -> tuple[torch.Tensor, bool]:
        """Token ids (context,) int64, and whether the text lost its end."""
        ...

    def transform(self, image: Image.Image) -> torch.Tensor:
        """An RGB picture to (3, height, width) float32."""
        ...


def prepare(source: Source, model: Inputs, *, decode: Callable[[bytes], Image.Image]) -> Prepared:
    """The model's input for one row's content, which must not be None (a NULL has no vector to
    compute).

    Raises RowFault: text_empty, and what `decode` raises.
    """
    match source.modality, source.content:
        case "text", str(text):
            if not text.strip():
                raise RowFault(
                    "text_empty",
                    f"The text is empty ({len(text)} white space characters): store NULL or words.",
                )
            prompts = [model.tokenise(view) for view in model.recipe.texts(text)]
            (first, *others), truncated = zip(*prompts, strict=True)
            return Prepared(source.origin, source.modality, first, any(truncated), tuple(others))
        case "image", bytes(content):
            image = decode(content)
            first, *others = [model.transform(view) for view in model.recipe.pictures(image)]
            return Prepared(source.origin, source.modality, first, others=tuple(others))
        case modality, content:
            raise TypeError(f"a source of modality {modality} cannot hold {type(content).__name__}")
