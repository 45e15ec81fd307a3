"""Text -> token ids as OpenCLIP makes them; and a text tower run on no more than a batch holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

LONGEST_TEXT = 8_192
"""Characters looked at. A byte-pair tokenizer takes time quadratic in a word's length; CLIP's
context of 77 tokens is full long before this many, for its longest token has under 50
characters."""
CACHED_WORDS = 100_000
"""Words whose tokens OpenCLIP's tokenizer may remember; left alone, it remembers all for ever."""


def tokenise(tokenizer: Any, context: int, text: str) -> tuple[Tensor, bool]:
    """Token ids (context,) int64, padded, and whether the text was longer and lost its end."""
    cut = False
    if len(text) > LONGEST_TEXT:
        text = " ".join(text.split())
        cut = len(text) > LONGEST_TEXT
        text = text[:LONGEST_TEXT]
    tokens: Tensor = tokenizer(text, context_length=context)[0]
    if (
        not cut and int(tokens[-1]) != 0
    ):  # the context is full: does one token more change what is there?
        longer = tokenizer(text, context_length=context + 1)[0]
        cut = not torch.equal(longer[:context], tokens)
    _forget_words(tokenizer)
    return tokens, cut


def _forget_words(tokenizer: Any) -> None:
    if len(getattr(tokenizer, "cache", ())) > CACHED_WORDS:
        marks = [tokenizer.decoder[mark] for mark in tokenizer.all_special_ids]
        tokenizer.cache = {mark: mark for mark in marks}


def may_shorten(network: Any) -> bool:
    """Whether padding after the end token cannot reach a text's vector.

    That holds for OpenCLIP's own text transformer with a causal mask, where the vector is taken at
    the end token: no position looks at a later one. Other towers (Hugging Face's, CoCa's, SigLIP's)
    get the full context.
    """
    from open_clip.transformer import TextTransformer

    tower = getattr(network, "text", None)
    return (
        isinstance(tower, TextTransformer)
        and tower.attn_mask is not None
        and tower.cls_emb is None
        and tower.pool_type in ("argmax", "eos")
    )


@contextmanager
def shortened(network: Any, tokens: Tensor) -> Iterator[Tensor]:
    """Yields `tokens` (n, context) cut to the longest text, (n, length), with the network's mask
    cut alike.

    Padding is 0. `network` must be one that `may_shorten` allows, and owned by one thread: its mask
    is swapped.
    """
    used = (tokens != 0).any(dim=0).nonzero()
    length = int(used[-1]) + 1 if len(used) else 1
    tower, mask = network.text, network.text.attn_mask
    tower.attn_mask = mask[:length, :length]
    try:
        yield tokens[:, :length]
    finally:
        tower.attn_mask = mask
