"""Recipes with the real model: views share batches, vectors keep their meaning, names differ."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from PIL import Image

from sidecar.bundled.drawings import draw
from sidecar.model import Model
from sidecar.prepare import prepare
from sidecar.records import Modality, Prepared, Source
from sidecar.settings import Settings
from sidecar.threads import Threads
from tests.model.reference import ORIGIN
from tests.model.test_prepare_images import encoded


def load(**settings: object) -> Model:
    return Model.load(Settings(model_id="bundled", **settings))  # type: ignore[arg-type]


def prepared(model: Model, content: bytes | str) -> Prepared:
    modality: Modality = "text" if isinstance(content, str) else "image"
    return prepare(Source(ORIGIN, modality, content), model, max_pixels=10**8)


def embed(model: Model, batch: list[Prepared]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    async def run() -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None]:
        threads = Threads(lambda source: prepared(model, source.content or ""), model.encode)
        try:
            embedded, faults = await threads.encode(batch)
        finally:
            threads.stop()
        assert not faults
        return [result.vector for result in embedded]

    return np.stack([vector for vector in asyncio.run(run()) if vector is not None])


def test_crops_of_all_rows_share_a_batch_and_each_row_gets_their_mean() -> None:
    model = load(enable_tta=True)
    images = [draw(seed)[0] for seed in range(3)]
    batch = [prepared(model, encoded(image)) for image in images]
    assert [len(item.views) for item in batch] == [5, 5, 5]
    together = embed(model, batch)
    for image, vector in zip(images, together, strict=True):
        views = model.encode("image", [model.transform(v) for v in model.recipe.pictures(image)])
        mean = views.sum(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_a_panorama_finds_what_stands_at_its_edge(model: Model) -> None:
    """The centre crop of a plain transform does not even see it."""
    tiled = load(enable_tta=True)
    drawing, facts = draw(7)
    side = drawing.width
    ground = drawing.getpixel((0, 0))
    assert ground is not None
    wide = Image.new("RGB", (6 * side, side), ground)
    wide.paste(drawing, (5 * side, 0))
    question = embed(model, [prepared(model, f"a {facts.colour} {facts.shape}")])[0]
    plain = embed(model, [prepared(model, encoded(wide))])[0]
    pooled = embed(tiled, [prepared(tiled, encoded(wide))])[0]
    assert pooled @ question > plain @ question + 0.02


def test_templates_are_pooled(model: Model) -> None:
    several = load(text_templates=("%s", "a drawing of %s"))
    vector = embed(several, [prepared(several, "a red circle")])[0]
    prompts = "a red circle", "a drawing of a red circle"
    parts = embed(model, [prepared(model, prompt) for prompt in prompts])
    mean = parts.sum(axis=0)
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "bundled"),
        ({"precision": "bf16"}, "bundled#bf16"),
        ({"vision_size": 96}, "bundled#size=96"),
        ({"vision_size": 72}, "bundled"),
        ({"enable_tta": True}, "bundled#tta=63@1,panorama=2.6"),
    ],
)
def test_what_makes_other_vectors_has_another_name(settings: dict[str, object], name: str) -> None:
    assert load(**settings).name == name
