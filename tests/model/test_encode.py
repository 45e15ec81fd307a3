"""What `Model.encode` promises whatever the batch, and whom it blames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sidecar import bundled
from sidecar.bundled.drawings import draw
from sidecar.errors import ServiceFault
from sidecar.model import Model
from sidecar.records import Modality
from sidecar.settings import Settings


def test_to_import_the_module_is_not_to_import_openclip() -> None:
    heavy = "{'open_clip', 'timm', 'torchvision', 'huggingface_hub'}"
    check = f"import sys, sidecar.model; sys.exit(repr({heavy} & set(sys.modules) or ''))"
    root = Path(bundled.__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=False
    )
    assert ended.stderr.strip() == "''"


def test_the_bundled_model_says_what_it_is(model: Model) -> None:
    assert (model.name, model.width, model.context, model.size) == ("bundled", 768, 32, (72, 72))
    assert model.notice == bundled.NOTICE
    model.warm_up()


def test_vectors_are_float32_of_unit_length(model: Model) -> None:
    images = [model.transform(draw(seed)[0]) for seed in range(5)]
    texts = [model.tokenise(text)[0] for text in ("a red circle", "a cat")]
    for vectors in (model.encode("image", images), model.encode("text", texts)):
        assert vectors.dtype == np.float32
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


def test_a_vector_does_not_depend_on_the_rest_of_its_batch(model: Model) -> None:
    texts = [
        model.tokenise(text)[0] for text in ("a red circle", "a small blue star on the left", "x")
    ]
    images = [model.transform(draw(seed)[0]) for seed in range(3)]
    batches: list[tuple[Modality, list[torch.Tensor]]] = [("text", texts), ("image", images)]
    for modality, tensors in batches:
        together = model.encode(modality, tensors)
        alone = np.concatenate([model.encode(modality, [tensor]) for tensor in tensors])
        np.testing.assert_allclose(together, alone, atol=2e-6)


def test_an_empty_batch_has_no_vectors(model: Model) -> None:
    assert model.encode("image", []).shape == (0, 768)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_what_the_device_cannot_do_is_the_services_fault(model: Model, modality: Modality) -> None:
    endless = torch.zeros(1, dtype=torch.int64).expand(3, 10**7, 10**7)
    with pytest.raises(ServiceFault, match=f"Device cpu .* batch of 1 .{modality}"):
        model.encode(modality, [endless])
    model.warm_up()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_close_and_still_of_unit_length(model: Model, precision: str) -> None:
    lower = Model.load(Settings(model_id="bundled", precision=precision))
    assert lower.precision == precision
    tensors = [model.transform(draw(seed)[0]) for seed in range(8)]
    exact, close = model.encode("image", tensors), lower.encode("image", tensors)
    assert (exact * close).sum(axis=1).min() > 0.995
    assert np.abs(np.linalg.norm(close, axis=1) - 1).max() < 1e-6
    tokens = [model.tokenise("a red circle")[0]]
    assert (model.encode("text", tokens) * lower.encode("text", tokens)).sum() > 0.995


def test_another_vision_size_resamples_the_positions(model: Model) -> None:
    larger = Model.load(Settings(model_id="bundled", vision_size=96))
    assert larger.size == (96, 96)
    image = draw(3)[0]
    assert larger.transform(image).shape == (3, 96, 96)
    larger.warm_up()
    same = (
        model.encode("image", [model.transform(image)])
        @ larger.encode("image", [larger.transform(image)]).T
    )
    assert same.item() > 0.5


def test_the_models_own_vision_size_changes_nothing(model: Model) -> None:
    same = Model.load(Settings(model_id="bundled", vision_size=72))
    tensors = [model.transform(draw(3)[0])]
    np.testing.assert_array_equal(same.encode("image", tensors), model.encode("image", tensors))


def test_a_vision_size_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(
        ServiceFault, match=r"VISION_SIZE=100 is no multiple .* patch of 12 pixels: use 96 or 108"
    ):
        Model.load(Settings(model_id="bundled", vision_size=100))


def test_a_device_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ServiceFault, match="CUDA_DEVICE=cuda:99 is not there"):
        Model.load(Settings(model_id="bundled", cuda_device="cuda:99"))


def test_the_tokenizer_forgets_words_before_they_fill_the_memory(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.texts.CACHED_WORDS", 50)
    before = model.tokenise("a <start_of_text> red circle")[0]
    for number in range(120):
        model.tokenise(
            "word" + "abcdefghijklmnop"[number % 16] + "xyzuvw"[number % 6] * (number % 9)
        )
        assert len(model._tokenizer.cache) <= 51
    assert torch.equal(model.tokenise("a <start_of_text> red circle")[0], before)
