"""EVA02-CLIP made tiny: the vision tower's registration with timm, and OpenCLIP's configuration of
both towers.

Importing this module registers TOWER: OpenCLIP hands timm a model's name and no arguments, so a
tower of another shape needs a name of its own.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.eva import Eva, checkpoint_filter_fn

TOWER = "sidecar_eva02_tiny_patch12_clip_72"
PIXELS = 72
WIDTH = 768
"""Width of both towers' output: EVA02-CLIP L/14's, so that both fit the same columns."""
CONTEXT = 32
"""Tokens of a text, start and end included; what `captions.py` says needs at most as many."""
MERGES_FILE = "merges.txt.gz"
MERGES = 1534
"""How many of CLIP's 48,894 merges are kept: 2 x 256 bytes + 1,534 + 2 marks = 2,048 tokens,
lossless."""
VOCABULARY = 2 * 256 + MERGES + 2

default_cfgs = generate_default_cfgs(
    {
        TOWER: {
            "num_classes": WIDTH,
            "input_size": (3, PIXELS, PIXELS),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


def sidecar_eva02_tiny_patch12_clip_72(pretrained: bool = False, **options: Any) -> Eva:
    """EVA02-L's block (SwiGLU with a norm inside, rotary positions, q, k, v apart), 4 times."""
    size: dict[str, Any] = {
        "img_size": PIXELS,
        "patch_size": 12,
        "embed_dim": 128,
        "depth": 4,
        "num_heads": 2,
    }
    block = {"mlp_ratio": 4 * 2 / 3, "qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True}
    positions = {"use_rot_pos_emb": True, "ref_feat_shape": (6, 6)}
    arguments = {
        **size,
        **block,
        **positions,
        "scale_attn_inner": True,
        "global_pool": "token",
        **options,
    }
    tower: Eva = build_model_with_cfg(
        Eva, TOWER, pretrained, pretrained_filter_fn=checkpoint_filter_fn, **arguments
    )
    return tower


register_model(sidecar_eva02_tiny_patch12_clip_72)


def configuration() -> dict[str, Any]:
    """What `open_clip_config.json` holds; OpenCLIP's own mean and deviation apply."""
    vision = {
        "image_size": PIXELS,
        "timm_model_name": TOWER,
        "timm_model_pretrained": False,
        "timm_pool": "token",
        "timm_proj": None,
    }
    text: dict[str, Any] = {
        "context_length": CONTEXT,
        "vocab_size": VOCABULARY,
        "width": 128,
        "heads": 2,
        "layers": 2,
    }
    text["tokenizer_kwargs"] = {"bpe_path": MERGES_FILE}
    towers = {"embed_dim": WIDTH, "vision_cfg": vision, "text_cfg": text, "custom_text": True}
    return {"model_cfg": towers, "preprocess_cfg": {}}


def write_merges(target: Path) -> None:
    """Writes the first MERGES merges of CLIP's tokenizer, as SimpleTokenizer reads them."""
    from open_clip.tokenizer import default_bpe

    with gzip.open(default_bpe(), "rt", encoding="utf-8") as source:
        lines = [next(source) for _ in range(1 + MERGES)]
    target.write_bytes(gzip.compress("".join(lines).rstrip("\n").encode(), mtime=0))
