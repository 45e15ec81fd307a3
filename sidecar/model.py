"""OpenCLIP's model: prepared tensors in, unit vectors out. Owns the device; never touches rows or
the database.

Everything heavy is imported when a model is loaded, so that importing this module stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sidecar import bundled
from sidecar.checkpoint import Checkpoint, build, build_tokenizer, find_checkpoint
from sidecar.errors import ServiceFault
from sidecar.exported import ExportedNetwork, directory_of, export
from sidecar.recipe import Recipe
from sidecar.records import Modality, Vectors
from sidecar.settings import Settings
from sidecar.texts import may_shorten, shortened, tokenise
from sidecar.torchvision_ops import declare_missing_operators

LONGEST_STRIP = 16
"""Sides' ratio up to which OpenCLIP's transform gets the whole picture. It scales the short side to
the model's size before it crops the middle: 1 x 60,000 pixels would become 336 x 20 million."""

INPUT_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class Model:
    """Both towers of one OpenCLIP model on one device.

    `encode` and `warm_up` belong to one thread; `transform` and `tokenise` may run on any.
    """

    name: str
    """VISION_MODEL_ID, and after a # all that makes its vectors others: precision, size, recipe."""
    width: int
    """Length of its vectors."""
    device: str
    """`cpu`, `cuda:0` and so on."""
    precision: str
    """fp16, bf16 or fp32; vectors are normalised in fp32 always."""
    context: int
    """Tokens of a text, start and end included."""
    size: tuple[int, int]
    """Pixels of the model's input: height, width."""
    recipe: Recipe
    """How contents become views."""
    notice: str | None
    """One sentence for people where the model is not what they might take it for."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: Any,
        tokenizer: Any,
        *,
        device: str,
        precision: str,
        settings: Settings,
    ) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        preprocess = PreprocessCfg(**network.visual.preprocess_cfg)
        height, width = preprocess.input_size[1:]
        self.width = int(checkpoint.towers["embed_dim"])
        self.device = device
        self.precision = precision
        self.context = int(network.context_length)
        self.size = (int(height), int(width))
        self.recipe = Recipe.of(settings, min(self.size))
        self.name = _name(checkpoint, precision, min(self.size), self.recipe)
        self.notice = bundled.NOTICE if checkpoint.is_bundled else None
        self._checkpoint = checkpoint
        self._wanted_size = settings.vision_size
        self._network = network
        self._tokenizer = tokenizer
        self._transform = image_transform_v2(preprocess, is_train=False)
        self._crops = preprocess.resize_mode == "shortest"
        self._shortens = may_shorten(network)

    @classmethod
    def load(cls, settings: Settings) -> Model:
        """The model that `settings` name, ready to encode.

        Raises ServiceFault where it cannot be had: no such name, hub out of reach, weights missing,
        no such device.
        """
        declare_missing_operators()
        torch.set_float32_matmul_precision(settings.matmul_precision)
        checkpoint = find_checkpoint(settings.model_id, settings.hf_token)
        if settings.backend == "onnx":
            if (settings.precision or "fp32") != "fp32" or (settings.cuda_device or "cpu") != "cpu":
                raise ServiceFault(
                    "MODEL_BACKEND=onnx works in fp32 on the CPU: unset MODEL_PRECISION and"
                    " CUDA_DEVICE, or set MODEL_BACKEND=torch."
                )
            device, precision = "cpu", "fp32"
            network: Any = ExportedNetwork(directory_of(checkpoint, settings.vision_size))
        else:
            device = _device(settings.cuda_device)
            precision = settings.precision or ("fp16" if device.startswith("cuda") else "fp32")
            network = build(
                checkpoint, precision=precision, device=device, size=settings.vision_size
            )
        tokenizer = build_tokenizer(checkpoint)
        return cls(
            checkpoint, network, tokenizer, device=device, precision=precision, settings=settings
        )

    def export(self) -> Path:
        """Writes both towers for MODEL_BACKEND=onnx; where to. Raises ServiceFault."""
        directory = directory_of(self._checkpoint, self._wanted_size)
        pixels = torch.zeros(3, *self.size)
        export(self._network, directory, pixels, self.tokenise("an example")[0])
        return directory

    def warm_up(self) -> None:
        """Runs both towers once, so that the first row need not wait. Raises ServiceFault."""
        height, width = self.size
        image = self.encode("image", [torch.zeros(3, height, width)])
        text = self.encode("text", [self.tokenise("warm up")[0]])
        for tower, vectors in (("image", image), ("text", text)):
            if vectors.shape != (1, self.width) or not np.isfinite(vectors).all():
                raise ServiceFault(
                    f"Model {self.name} does not work here: instead of {self.width} finite numbers "
                    f"its {tower} tower gave {vectors.shape[1]}, or some that are not finite. "
                    "Try MODEL_PRECISION=fp32."
                )

    def tokenise(self, text: str) -> tuple[Tensor, bool]:
        """Token ids (context,) int64, and whether the text was too long and lost its end."""
        return tokenise(self._tokenizer, self.context, text)

    def transform(self, image: Image.Image) -> Tensor:
        """OpenCLIP's validation transform: any RGB picture to (3, height, width) float32."""
        if self._crops:
            image = _middle(image)
        pixels: Tensor = self._transform(image)
        return pixels

    def encode(self, modality: Modality, tensors: Sequence[Tensor]) -> Vectors:
        """Unit vectors (n, width) float32 for n tensors of one modality, from `transform` or
        `tokenise`.

        Raises ServiceFault for what the device cannot do, such as CUDA out of memory.
        """
        if not tensors:
            return np.zeros((0, self.width), dtype=np.float32)
        try:
            with torch.inference_mode():
                batch = torch.stack(list(tensors))
                features = self._see(batch) if modality == "image" else self._read(batch)
                # In fp32: in bf16 a unit vector's own product is anything from 0.994 to 1.005.
                vectors: Vectors = functional.normalize(features.float(), dim=-1).cpu().numpy()
                return vectors
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            setting = "SIDECAR_BATCH_SIZE" if modality == "image" else "SIDECAR_TEXT_BATCH_SIZE"
            raise ServiceFault(
                f"Device {self.device} is out of memory at a batch of {len(tensors)} ({modality}): "
                f"set {setting} below {len(tensors)}, or free the device's memory."
            ) from error
        except RuntimeError as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ServiceFault(
                f"Device {self.device} failed at a batch of {len(tensors)} ({modality}): {reason}"
            ) from error

    def _see(self, pixels: Tensor) -> Tensor:
        moved = pixels.to(device=self.device, dtype=INPUT_TYPES[self.precision])
        features: Tensor = self._network.encode_image(moved)
        return features

    def _read(self, tokens: Tensor) -> Tensor:
        features: Tensor
        if not self._shortens:
            features = self._network.encode_text(tokens.to(self.device))
            return features
        with shortened(self._network, tokens) as short:
            features = self._network.encode_text(short.to(self.device))
        return features


def _name(checkpoint: Checkpoint, precision: str, size: int, recipe: Recipe) -> str:
    own = np.min(checkpoint.towers["vision_cfg"].get("image_size", size))
    parts = [
        precision if precision != "fp32" else "",
        f"size={size}" if size != own else "",
        recipe.name,
    ]
    return "#".join([checkpoint.model_id, ",".join(part for part in parts if part)]).rstrip("#")


def _middle(image: Image.Image) -> Image.Image:
    """The picture, or of a very long strip the middle: the centre crop keeps nothing else."""
    short, long = sorted(image.size)
    if long <= LONGEST_STRIP * short:
        return image
    left, top = (max(0, (side - LONGEST_STRIP * short) // 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def _device(wanted: str | None) -> str:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is None:
        return "cuda:0" if count else "cpu"
    if wanted == "cpu":
        return wanted
    index = int(wanted.partition(":")[2] or 0)
    if index >= count:
        seen = f"{count} (cuda:0 to cuda:{count - 1})" if count else "none"
        raise ServiceFault(
            f"CUDA_DEVICE={wanted} is not there: torch sees {seen} CUDA devices. "
            "Unset CUDA_DEVICE to take what there is, or set CUDA_DEVICE=cpu."
        )
    return f"cuda:{index}"
