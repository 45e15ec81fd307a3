"""OpenCLIP as its own users have it, to compare with; and the origin that test rows come from."""

from __future__ import annotations

from typing import Any, NamedTuple

from sidecar.records import Claim
from sidecar.torchvision_ops import declare_missing_operators

declare_missing_operators()

ORIGIN = Claim(attachment=1, key="[42]", generation=1, attempts=1, lane=1, token=1, room="image")


class OpenClip(NamedTuple):
    """What a user of OpenCLIP alone has in hand."""

    network: Any
    transform: Any
    tokenizer: Any


def load_with_openclip(directory: Any, **tokenizer_options: Any) -> OpenClip:
    """The model in a directory through OpenCLIP's public functions only."""
    import open_clip

    name = f"local-dir:{directory}"
    network, _, transform = open_clip.create_model_and_transforms(name)
    return OpenClip(network.eval(), transform, open_clip.get_tokenizer(name, **tokenizer_options))
