"""The bundled model finds, among drawings that training never saw, what it says it finds."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from sidecar import bundled
from sidecar.bundled import accuracy, train
from sidecar.bundled.captions import ATTRIBUTES, SYNONYMS, caption, some_attributes
from sidecar.bundled.drawings import COLOURS, SHAPES, TRAINING_SEEDS, Drawing, draw, random_drawing
from sidecar.bundled.losses import UNNAMED, contrast, fits
from sidecar.model import Model
from sidecar.records import Prepared
from sidecar.settings import Settings
from tests.model.reference import OpenClip

FRESH = range(500_000, 500_800)
"""Seeds that neither training nor the model card's measurement used."""


class Pool:
    """Fresh drawings that went the way of a row: JPEG bytes, prepare, encode."""

    def __init__(self, model: Model, prepared: Callable[..., Prepared]) -> None:
        self.drawings: list[Drawing] = []
        tensors = []
        for seed in FRESH:
            picture, drawing = draw(seed)
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=90)
            tensors.append(prepared(buffer.getvalue()).tensor)
            self.drawings.append(drawing)
        self.vectors = model.encode("image", tensors)
        self.model = model

    def encode_texts(self, texts: Sequence[str]) -> accuracy.Vectors:
        return self.model.encode("text", [self.model.tokenise(text)[0] for text in texts])


@pytest.fixture(scope="module")
def pool(model: Model, prepared: Callable[..., Prepared]) -> Pool:
    return Pool(model, prepared)


@pytest.mark.parametrize("question", accuracy.QUESTIONS)
def test_the_best_answer_is_right_for_at_least_95_in_100_questions(
    pool: Pool, question: str
) -> None:
    named, form = accuracy.QUESTIONS[question]
    assert accuracy.top_1(pool.drawings, pool.vectors, pool.encode_texts, named, form) >= 0.95


def test_every_colour_with_every_shape_is_asked(pool: Pool) -> None:
    first = pool.drawings[: accuracy.POOL]
    asked = {(drawing.colour, drawing.shape) for drawing in first}
    assert len(asked) > 0.9 * len(COLOURS) * len(SHAPES)


def test_other_words_for_the_same_thing_find_it(pool: Pool) -> None:
    for word, others in SYNONYMS.items():
        vectors = pool.encode_texts(
            [f"a red {other}" if word in SHAPES else f"a {other} star" for other in others]
        )
        assert (vectors @ vectors.T).min() > 0.8, word


def test_the_model_card_states_what_was_measured() -> None:
    measured = json.loads((bundled.WEIGHTS / "measured.json").read_text())["held_out_top_1"]
    card = (bundled.WEIGHTS / "MODEL_CARD.md").read_text()
    assert accuracy.table(measured) in card
    assert bundled.NOTICE in card
    assert min(measured.values()) >= 0.95


def test_the_package_stays_small() -> None:
    assert sum(file.stat().st_size for file in bundled.WEIGHTS.iterdir()) < 5_000_000


def test_a_seed_always_gives_the_same_picture() -> None:
    (first, drawing), (again, same) = draw(11), draw(11)
    assert first.tobytes() == again.tobytes()
    assert drawing == same == random_drawing(11)
    assert draw(12)[0].tobytes() != first.tobytes()


def test_a_picture_can_be_drawn_from_its_attributes() -> None:
    wanted = Drawing("red", "circle", "large", "white", "centre")
    picture, drawing = draw(wanted, pixels=200)
    assert drawing == wanted
    assert (picture.size, picture.mode) == ((200, 200), "RGB")
    red, green, blue = np.asarray(picture)[100, 100].tolist()
    assert red > 180
    assert max(green, blue) < 80
    assert min(np.asarray(picture)[3, 3].tolist()) > 220
    assert draw(wanted, seed=1)[0].tobytes() != draw(wanted, seed=2)[0].tobytes()


def test_no_shape_has_the_colour_of_its_background() -> None:
    assert all(drawing.colour != drawing.background for drawing in map(random_drawing, range(500)))


def test_training_never_sees_what_is_measured() -> None:
    assert max(FRESH) < min(accuracy.HELD_OUT)
    assert max(accuracy.HELD_OUT) < TRAINING_SEEDS


def test_a_caption_says_what_it_names_and_nothing_else() -> None:
    drawing = Drawing("orange", "arrow", "small", "blue", "left")
    assert caption(drawing) == "an orange arrow"
    assert caption(drawing, ["shape"]) == "an arrow"
    assert caption(drawing, ["background", "place"]) == "a shape on a blue background on the left"
    assert caption(drawing, ATTRIBUTES) == "a small orange arrow on a blue background on the left"
    rng = np.random.default_rng(0)
    for _ in range(300):
        named = some_attributes(rng)
        said = caption(drawing, named, rng)
        for name in ATTRIBUTES:
            words = SYNONYMS.get(getattr(drawing, name), (getattr(drawing, name),))
            assert any(re.search(rf"\b{word}\b", said) for word in words) == (name in named), said


def test_no_training_caption_is_longer_than_the_context(openclip: OpenClip, model: Model) -> None:
    rng = np.random.default_rng(1)
    said = {caption(random_drawing(seed), ATTRIBUTES, rng) for seed in range(3_000)}
    assert max(len(openclip.tokenizer.encode(text)) for text in said) + 2 <= model.context


def test_a_picture_fits_every_caption_that_names_only_what_it_has() -> None:
    pictures = torch.tensor([[0, 1, 0, 2, 3], [0, 2, 0, 2, 3]])
    captions = torch.tensor(
        [[0, UNNAMED, UNNAMED, UNNAMED, UNNAMED], [0, 2, 0, 2, 3], [5, UNNAMED, 0, 2, 3]]
    )
    assert fits(pictures, captions).tolist() == [[True, False, False], [True, True, False]]


def test_contrast_is_least_where_all_that_is_right_is_alike() -> None:
    right = torch.tensor([[True, True, False], [False, True, False]])
    best = contrast(torch.where(right, 50.0, -50.0), right)
    assert torch.isfinite(best)
    assert (
        best < contrast(torch.zeros(2, 3), right) < contrast(torch.where(right, -50.0, 50.0), right)
    )


def test_the_training_command_writes_a_model_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "HELD_OUT", range(900_000, 900_020))
    train.main(["--output", str(tmp_path), "--steps", "2", "--drawings", "100"])
    model = Model.load(Settings(model_id=f"local-dir:{tmp_path}"))
    model.warm_up()
    assert model.notice == bundled.NOTICE
    assert "2 steps of" in (tmp_path / "MODEL_CARD.md").read_text()
