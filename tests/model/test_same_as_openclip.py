"""The product's vectors are OpenCLIP's own: the bundled model's and EVA02-CLIP L/14's at 336 px."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sidecar import bundled
from sidecar.bundled.drawings import draw
from sidecar.errors import ServiceFault
from sidecar.model import Model
from sidecar.prepare import prepare
from sidecar.records import Prepared, Source, Vectors
from sidecar.settings import Settings
from tests.model.reference import ORIGIN, OpenClip, load_with_openclip

TEXTS = [
    "a red circle",
    "A PHOTO of a Blue   Star, at the top!",
    "naïve café — 日本語 🚲 &amp; ﬁn",
    "word " * 200,
    "x",
]
SIZES = [(144, 144), (500, 333), (81, 200), (72, 72), (30, 20), (1, 900)]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 10_000 + height)
    coarse = rng.integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def cosines(ours: Vectors, theirs: torch.Tensor) -> Vectors:
    unit = torch.nn.functional.normalize(theirs.float(), dim=-1).numpy()
    per_row: Vectors = (ours * unit).sum(axis=1)
    return per_row


@pytest.mark.parametrize("size", SIZES[:-1], ids=str)
def test_a_plain_picture_reaches_the_model_exactly_as_openclip_makes_it(
    size: tuple[int, int], prepared: Callable[..., Prepared], openclip: OpenClip
) -> None:
    image = noise(*size)
    assert torch.equal(prepared(png(image)).tensor, openclip.transform(image))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:12])
def test_a_text_has_the_tokens_that_openclip_gives_it(
    text: str, prepared: Callable[..., Prepared], openclip: OpenClip
) -> None:
    assert torch.equal(prepared(text).tensor, openclip.tokenizer([text])[0])


def test_pictures_of_one_batch_have_openclips_vectors(model: Model, openclip: OpenClip) -> None:
    images = [draw(seed)[0] for seed in range(20)] + [noise(*size) for size in SIZES]
    with torch.inference_mode():
        theirs = openclip.network.encode_image(
            torch.stack([openclip.transform(image) for image in images])
        )
    ours = model.encode("image", [model.transform(image) for image in images])
    assert cosines(ours, theirs).min() >= 0.9999


def test_texts_of_one_batch_have_openclips_vectors_although_padded_less(
    model: Model, openclip: OpenClip
) -> None:
    for batch in (TEXTS, TEXTS[:1], ["a red circle", "a cat"]):
        with torch.inference_mode():
            theirs = openclip.network.encode_text(openclip.tokenizer(batch))
        ours = model.encode("text", [model.tokenise(text)[0] for text in batch])
        assert cosines(ours, theirs).min() >= 0.99999


def test_another_vision_size_has_openclips_vectors() -> None:
    import open_clip

    name = f"local-dir:{bundled.WEIGHTS}"
    reference, _, transform = open_clip.create_model_and_transforms(name, force_image_size=96)
    model = Model.load(Settings(model_id="bundled", vision_size=96))
    images = [noise(*size) for size in SIZES[:4]]
    with torch.inference_mode():
        theirs = reference.eval().encode_image(torch.stack([transform(image) for image in images]))
    ours = model.encode("image", [model.transform(image) for image in images])
    assert cosines(ours, theirs).min() >= 0.9999


def write_model(directory: Path, towers: dict[str, Any]) -> None:
    """A `local-dir:` of this configuration with random weights, fp16."""
    import open_clip

    config = {"model_cfg": towers, "preprocess_cfg": {}}
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    weights = open_clip.create_model(f"local-dir:{directory}", load_weights=False).state_dict()
    halved = {name: weight.half() for name, weight in weights.items()}
    save_file(halved, directory / "open_clip_model.safetensors")


def test_a_model_of_openclips_own_towers_has_its_vectors(tmp_path: Path) -> None:
    """Its text tower takes the full context only."""
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    write_model(tmp_path, {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text})
    model = Model.load(Settings(model_id=f"local-dir:{tmp_path}"))
    reference = load_with_openclip(tmp_path)
    model.warm_up()
    images = [noise(*size) for size in SIZES[:4]]
    with torch.inference_mode():
        their_images = reference.network.encode_image(
            torch.stack([reference.transform(image) for image in images])
        )
        their_texts = reference.network.encode_text(reference.tokenizer(TEXTS))
    assert (model.width, model.context, model.size) == (48, 77, (32, 32))
    ours = model.encode("image", [model.transform(image) for image in images])
    assert cosines(ours, their_images).min() >= 0.9999
    texts = model.encode("text", [model.tokenise(text)[0] for text in TEXTS])
    assert cosines(texts, their_texts).min() >= 0.9999
    larger = Model.load(Settings(model_id=f"local-dir:{tmp_path}", vision_size=48))
    larger.warm_up()
    assert larger.size == (48, 48)
    with pytest.raises(ServiceFault, match="patch of 8 pixels: use 40 or 48"):
        Model.load(Settings(model_id=f"local-dir:{tmp_path}", vision_size=44))


@pytest.mark.slow
def test_the_full_model_has_openclips_vectors(tmp_path: Path) -> None:
    """True architecture, random weights, 0.9 GB of fp16 on disk, through `local-dir:`."""
    import open_clip

    write_model(tmp_path, open_clip.get_model_config("EVA02-L-14-336"))
    images = [noise(640, 480), noise(200, 336)]
    reference = load_with_openclip(tmp_path)
    with torch.inference_mode():
        their_images = reference.network.encode_image(
            torch.stack([reference.transform(i) for i in images])
        )
        their_texts = reference.network.encode_text(reference.tokenizer(TEXTS))
    del reference

    model = Model.load(Settings(model_id=f"local-dir:{tmp_path}"))
    sources = [Source(ORIGIN, "image", png(image)) for image in images]
    ours = model.encode("image", [prepare(s, model, max_pixels=10**6).tensor for s in sources])
    assert (model.width, model.context, model.size, ours.shape) == (768, 77, (336, 336), (2, 768))
    assert cosines(ours, their_images).min() >= 0.9999
    np.testing.assert_allclose(
        ours, torch.nn.functional.normalize(their_images, dim=-1).numpy(), atol=1e-4
    )
    texts = model.encode("text", [model.tokenise(text)[0] for text in TEXTS])
    assert cosines(texts, their_texts).min() >= 0.9999
    assert model.notice is None
    (tmp_path / "open_clip_model.safetensors").unlink()  # pytest keeps the directory for a while
