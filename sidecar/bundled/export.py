"""The bundled model's directory: configuration and merges to begin with, weights and card after."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sidecar.bundled import NOTICE, accuracy
from sidecar.torchvision_ops import declare_missing_operators

CARD = """\
# The bundled model

{notice} A photo of a cat is to it some shape or other: it answers, and the answer means nothing.

It is EVA02-CLIP made tiny: 72 x 72 pixels in patches of 12, 4 blocks of width 128; for text 2
layers of width 128; 768 dimensions. {parameters:,} parameters, {megabytes:.1f} MB as fp16.
It knows 12 colours, 10 shapes, 2 sizes, 12 backgrounds and 5 places, as `drawings.py` draws them
and `captions.py` names them. Every colour was trained with every shape.

Trained by `python -m sidecar.bundled.train`: {steps:,} steps of {batch} drawings, {seconds:.0f} s
on {threads} threads of an {machine} CPU.

## Measured

On {held_out:,} drawings that it was never trained on, from these fp16 weights. Each question
chooses among {pool} drawings, and its best answer is right when it has everything that is named.

{table}
"""


def create(directory: Path) -> tuple[Any, Any, Any]:
    """Writes configuration and merges; returns what `opened` does, with random weights."""
    declare_missing_operators()
    from sidecar.bundled import architecture

    directory.mkdir(parents=True, exist_ok=True)
    written = json.dumps(architecture.configuration(), indent=2) + "\n"
    (directory / "open_clip_config.json").write_text(written, encoding="utf-8")
    architecture.write_merges(directory / architecture.MERGES_FILE)
    return opened(directory, load_weights=False)


def opened(directory: Path, *, load_weights: bool = True) -> tuple[Any, Any, Any]:
    """OpenCLIP's network in eval mode, its tokenizer and its validation transform."""
    declare_missing_operators()
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    from sidecar.bundled import architecture

    name = f"local-dir:{directory}"
    network = open_clip.create_model(
        name, load_weights=load_weights, require_pretrained=load_weights
    ).eval()
    merges = str(directory / architecture.MERGES_FILE)
    transform = image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    return network, open_clip.get_tokenizer(name, bpe_path=merges), transform


def write_weights(model: torch.nn.Module, directory: Path) -> None:
    """Writes the weights as fp16 safetensors."""
    weights = {
        name: weight.detach().half().contiguous() for name, weight in model.state_dict().items()
    }
    file = directory / "open_clip_model.safetensors"
    save_file(weights, file)
    file.chmod(0o644)  # safetensors writes for its owner alone, and a package is read by others


def write_card(
    directory: Path, measured: dict[str, float], *, seconds: float, steps: int, batch: int
) -> None:
    """Writes `measured.json` and `MODEL_CARD.md` beside the weights."""
    from safetensors import safe_open

    file = directory / "open_clip_model.safetensors"
    with safe_open(file, framework="pt") as weights:
        parameters = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    report = {"steps": steps, "batch": batch, "seconds": round(seconds), "held_out_top_1": measured}
    (directory / "measured.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    card = CARD.format(
        notice=NOTICE,
        parameters=parameters,
        megabytes=file.stat().st_size / 1e6,
        steps=steps,
        batch=batch,
        seconds=seconds,
        threads=torch.get_num_threads(),
        machine=platform.machine(),
        held_out=len(accuracy.HELD_OUT),
        pool=accuracy.POOL,
        table=accuracy.table(measured),
    )
    (directory / "MODEL_CARD.md").write_text(card, encoding="utf-8")
