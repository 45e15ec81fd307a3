"""Lets torchvision's wheel be imported beside a torch that its compiled operators were not built
for.

Beside a CPU-only torch the import of PyPI's torchvision fails with `operator torchvision::nms does
not exist` (pytorch/vision #9085). OpenCLIP uses its transforms only, and they need no operator: the
names suffice.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[
    torch.library.Library
] = []  # an operator lives as long as the library that declares it


def declare_missing_operators() -> None:
    """Declares `nms` and `qnms` where torchvision's own library cannot be loaded; else does
    nothing.

    Call it before the first import of torchvision or open_clip. Safe to call again.
    """
    if _declared or _has_operators():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)


def _has_operators() -> bool:
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return False
    for extension in Path(package.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
        except OSError:
            continue
    return hasattr(torch.ops.torchvision, "nms")
