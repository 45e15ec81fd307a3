"""Every kind of text that a column may hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest
import torch

from sidecar.errors import RowFault
from sidecar.model import Model
from sidecar.pictures.decode import decode
from sidecar.prepare import prepare
from sidecar.records import Prepared, Source
from tests.model.reference import ORIGIN, OpenClip

Prepare = Callable[..., Prepared]


@pytest.mark.parametrize("text", ["", " ", "\t\r\n", "\u00a0\u2003\u3000"])
def test_a_text_of_white_space_is_a_fault_of_its_row(prepared: Prepare, text: str) -> None:
    with pytest.raises(RowFault) as caught:
        prepared(text)
    assert caught.value.code == "text_empty"
    assert f"({len(text)} white space" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "\u200b",
        "e\u0301\u0302\u0303",
        "שלום עולם",
        "🏳️‍🌈👩‍👩‍👧‍👦",
        "\U0010ffff\ufffe\ue000",
        "\x01\x1f\x7f",
        "<end_of_text><start_of_text>",
        "a\u202egnirts\u202c",
        "&lt;b&gt; &#0; &amp;amp;",
        "ﷺ",
    ],
    ids=ascii,
)
def test_unicode_of_every_kind_has_a_unit_vector(
    prepared: Prepare, model: Model, text: str
) -> None:
    ready = prepared(text)
    assert not ready.truncated
    vector = model.encode("text", [ready.tensor])[0]
    assert abs(float(vector @ vector) - 1) < 1e-5


def test_a_text_past_the_context_is_cut_and_says_so(
    prepared: Prepare, model: Model, openclip: OpenClip
) -> None:
    fits = " ".join(["red"] * (model.context - 2))
    assert not prepared(fits).truncated
    ready = prepared(fits + " red")
    assert ready.truncated
    assert ready.tensor.shape == (model.context,)
    assert torch.equal(ready.tensor, openclip.tokenizer([fits + " red"])[0])
    assert torch.equal(ready.tensor, prepared(fits).tensor)


def test_a_megabyte_of_text_takes_no_time(prepared: Prepare) -> None:
    for text in ("a" * 1_000_000, "q x j " * 200_000, "z" + " " * 1_000_000 + "z"):
        started = time.monotonic()
        ready = prepared(text)
        assert time.monotonic() - started < 5
        assert ready.truncated == ("  " not in text)


def test_a_long_text_of_white_space_keeps_its_last_word(prepared: Prepare) -> None:
    assert torch.equal(
        prepared("red" + " " * 20_000 + "circle").tensor, prepared("red circle").tensor
    )


def test_the_origin_travels_with_the_tensor(prepared: Prepare) -> None:
    assert prepared("a red circle").origin is ORIGIN


def test_null_is_a_mistake_of_the_caller(model: Model) -> None:
    with pytest.raises(TypeError, match="text cannot hold NoneType"):
        prepare(Source(ORIGIN, "text", None), model, decode=partial(decode, max_pixels=1))
