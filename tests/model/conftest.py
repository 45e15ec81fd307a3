"""The bundled model as the product loads it and as OpenCLIP does; and the stage `prepare`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar import bundled
from sidecar.model import Model
from sidecar.pictures.decode import decode
from sidecar.prepare import prepare
from sidecar.records import Modality, Prepared, Source
from sidecar.settings import Settings
from tests.model.reference import ORIGIN, OpenClip, load_with_openclip


@pytest.fixture(scope="session")
def model() -> Model:
    return Model.load(Settings(model_id="bundled"))


@pytest.fixture(scope="session")
def openclip(model: Model) -> OpenClip:
    return load_with_openclip(bundled.WEIGHTS, bpe_path=str(bundled.WEIGHTS / "merges.txt.gz"))


@pytest.fixture(scope="session")
def prepared(model: Model) -> Callable[..., Prepared]:
    max_image_pixels = Settings().max_image_pixels

    def run(content: bytes | str, max_pixels: int = max_image_pixels) -> Prepared:
        modality: Modality = "text" if isinstance(content, str) else "image"
        return prepare(
            Source(ORIGIN, modality, content),
            model,
            decode=lambda content: decode(content, max_pixels),
        )

    return run
