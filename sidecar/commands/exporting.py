"""`sidecar export`: the model's towers as ONNX files, compared with torch before they count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sidecar.commands.screen import note
from sidecar.errors import ServiceFault
from sidecar.settings import read_settings

if TYPE_CHECKING:
    from torch import Tensor

    from sidecar.model import Model
    from sidecar.records import Modality

EXAMPLE = "Example:  VISION_MODEL_ID=bundled sidecar export && MODEL_BACKEND=onnx sidecar run"

LEAST_COSINE = 0.9999
TEXTS = (
    "a red circle",
    "a photo of a cat on a sofa, seen from above",
    "",
    "Straßenbahn 12, 東京, привет",
    "word " * 200,
)


def export(
    kind: Annotated[
        Literal["onnx"], typer.Option("--format", help="What to write: onnx.")
    ] = "onnx",
) -> None:
    """Write the model's towers for MODEL_BACKEND=onnx, and compare them with torch."""
    from dataclasses import replace

    settings = replace(read_settings(), backend="torch", cuda_device="cpu")
    if settings.precision not in (None, "fp32"):
        raise ServiceFault(
            f"An export is in fp32, and MODEL_PRECISION={settings.precision}: unset it."
        )
    from sidecar import exported
    from sidecar.commands.running import hush_downloads
    from sidecar.model import Model

    exported.require("onnxruntime")
    hush_downloads()
    original = Model.load(settings)
    note(f"Exporting {original.name}; this takes minutes for a large model.")
    directory = original.export()
    copy = Model.load(replace(settings, backend="onnx"))
    cosines = {"pictures": _pictures(original, copy), "texts": _texts(original, copy)}
    for what, cosine in cosines.items():
        typer.echo(f"{what}: least cosine with torch {cosine:.7f}")
    if min(cosines.values()) < LEAST_COSINE:
        import shutil

        shutil.rmtree(directory)
        raise ServiceFault(
            f"The exported towers of {original.name} differ from torch by more than"
            f" {1 - LEAST_COSINE:.0e}: nothing was kept; use MODEL_BACKEND=torch."
        )
    typer.echo(f"{directory}\nUse it: MODEL_BACKEND=onnx sidecar run")


def _pictures(original: Model, copy: Model) -> float:
    import torch

    height, width = original.size
    noise = torch.Generator().manual_seed(1)
    coarse = torch.randn(5, 3, 6, 6, generator=noise)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    pictures = [*smooth, torch.zeros(3, height, width)]
    return _least_cosine(original, copy, "image", pictures)


def _texts(original: Model, copy: Model) -> float:
    return _least_cosine(original, copy, "text", [original.tokenise(text)[0] for text in TEXTS])


def _least_cosine(original: Model, copy: Model, modality: Modality, inputs: list[Tensor]) -> float:
    """Least cosine between the vectors of both, alone and in one batch."""
    expected = original.encode(modality, inputs)
    together = copy.encode(modality, inputs)
    alone = copy.encode(modality, inputs[:1])
    return float(min((expected * together).sum(axis=1).min(), (expected[:1] * alone).sum()))
