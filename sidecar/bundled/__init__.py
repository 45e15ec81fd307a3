"""The small EVA02-CLIP that ships with the package: offline, from INSERT to a right search result.

It knows only what `drawings.py` draws. `python -m sidecar.bundled.train` makes its weights again.
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""An OpenCLIP `local-dir:` directory: configuration, weights and the tokenizer's merges."""

NOTICE = "The bundled model is a demonstration: it knows only drawings of coloured shapes."
