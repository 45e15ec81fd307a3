"""What training asks of both towers. Vectors and attributes -> a loss; nothing here is kept in the
weights.

A plain CLIP loss calls every other picture of a batch wrong, also where its drawing fits the
caption as well, and had not learnt shapes after seven minutes. Here a picture is right for every
caption whose named attributes it has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidecar.bundled.captions import ATTRIBUTES

UNNAMED = -1
"""Stands in a table of values for an attribute that a caption does not name."""


def fits(pictures: Tensor, captions: Tensor) -> Tensor:
    """bool (n, m): picture i has all that caption j names.

    `pictures` (n, 5) and `captions` (m, 5) hold the indices of attribute values, int64; UNNAMED in
    captions.
    """
    same = pictures[:, None] == captions[None]
    return (same | (captions[None] == UNNAMED)).all(dim=-1)


def contrast(logits: Tensor, right: Tensor) -> Tensor:
    """Multi-positive cross-entropy in both directions, scalar.

    `logits` (n, m) are scaled cosines, `right` (n, m) is bool. The target of a row is uniform over
    what is right for it; rows and columns without anything right are left out.
    """
    return (_one_way(logits, right) + _one_way(logits.T, right.T)) / 2


def _one_way(logits: Tensor, right: Tensor) -> Tensor:
    known = right.any(dim=1)
    target = right[known].float()
    target = target / target.sum(dim=1, keepdim=True)
    return -(target * logits[known].log_softmax(dim=1)).sum(dim=1).mean()


class AttributeHeads(nn.Module):
    """Reads each attribute off a tower's output, one linear layer for each; not kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, len(values)) for values in ATTRIBUTES.values())

    def forward(self, vectors: Tensor, values: Tensor) -> Tensor:
        """Mean cross-entropy of `vectors` (n, width) over what `values` (n, 5) int64 name,
        scalar."""
        losses = []
        for position, head in enumerate(self.heads):
            wanted = values[:, position]
            if bool((wanted != UNNAMED).any()):
                losses.append(functional.cross_entropy(head(vectors), wanted, ignore_index=UNNAMED))
        return torch.stack(losses).mean()
