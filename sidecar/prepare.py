"""Source -> Prepared: decodes pictures, tokenises texts. Runs on a thread pool; never touches
device or database.

A plain RGB picture without rotation reaches the model exactly as OpenCLIP's own transform makes it.
What OpenCLIP would get wrong or refuse is put right first: EXIF rotation, transparency (on white),
16 bits, CMYK, animation.
"""

from __future__ import annotations

import io
import re
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from sidecar.errors import RowFault
from sidecar.recipe import Recipe
from sidecar.records import Prepared, Source

SIGNATURES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("WebP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("TIFF", re.compile(rb"II\*\x00|MM\x00\*")),
)
"""How files of the usual formats begin. Bytes that begin so and cannot be read are damaged, not
something else."""

UNSUPPORTED: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("HEIC", re.compile(rb".{4}ftyp(heic|heix|hevc|hevx|heim|heis|mif1|msf1)", re.DOTALL)),
    ("AVIF", re.compile(rb".{4}ftypavi[fs]", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL ")),
    ("PDF", re.compile(rb"%PDF-")),
    (
        "SVG",
        re.compile(
            rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg\b", re.DOTALL
        ),
    ),
)
"""Picture formats that Pillow may not know, so that the message can name them."""

NEVER_DECODED = frozenset({"EPS", "WMF", "PDF", "BUFR", "GRIB", "HDF5", "MPEG"})
"""Pillow's formats that are no pixels, or (EPS) would run Ghostscript on a stranger's bytes."""

ORIENTATION = 0x0112
"""EXIF tag: how the picture must be turned to be upright (EXIF 2.3, 4.6.4 A)."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

CONVERT = "convert it to JPEG, PNG or WebP and store it again"


class Inputs(Protocol):
    """What of a model this stage needs."""

    recipe: Recipe

    def tokenise(self, text: str) -> tuple[torch.Tensor, bool]:
        """Token ids (context,) int64, and whether the text lost its end."""
        ...

    def transform(self, image: Image.Image) -> torch.Tensor:
        """An RGB picture to (3, height, width) float32."""
        ...


def prepare(source: Source, model: Inputs, *, max_pixels: int) -> Prepared:
    """The model's input for one row's content, which must not be None (a NULL has no vector to
    compute).

    Raises RowFault: not_an_image, image_truncated, image_too_large, image_unsupported, text_empty.
    """
    match source.modality, source.content:
        case "text", str(text):
            if not text.strip():
                raise RowFault(
                    "text_empty",
                    f"The text is empty ({len(text)} white space characters): store NULL or words.",
                )
            prompts = [model.tokenise(view) for view in model.recipe.texts(text)]
            (first, *others), truncated = zip(*prompts, strict=True)
            return Prepared(source.origin, source.modality, first, any(truncated), tuple(others))
        case "image", bytes(content):
            image = decode(content, max_pixels)
            first, *others = [model.transform(view) for view in model.recipe.pictures(image)]
            return Prepared(source.origin, source.modality, first, others=tuple(others))
        case modality, content:
            raise TypeError(f"a source of modality {modality} cannot hold {type(content).__name__}")


def decode(content: bytes, max_pixels: int) -> Image.Image:
    """An upright RGB picture out of encoded bytes. Raises RowFault."""
    # Pillow's limit is global: it must not stand in the way of ours, and guards what lies inside
    # other formats (ICO).
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    try:
        image = _open(content)
        if image.width * image.height > max_pixels:
            raise _too_large(
                image.width * image.height, max_pixels, f"{image.width} x {image.height} = "
            )
        return _pixels(image, content)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's message holds the count and no sides: "Image size (2500000000 pixels) exceeds
        # limit of ...".
        raise _too_large(int(re.findall(r"\d+", str(error))[0]), max_pixels, "") from error


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF says; unreadable EXIF counts as none."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Any error of a parser on a stranger's bytes; the pixels are fine without.
        turn = None
    return image if turn is None else image.transpose(turn)


def flatten(image: Image.Image) -> Image.Image:
    """The picture as RGB with 8 bits a channel; what is transparent becomes white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _open(content: bytes) -> Image.Image:
    if not content:
        raise RowFault("not_an_image", "The image has 0 bytes: store NULL or a picture.")
    try:
        image = Image.open(io.BytesIO(content))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise
    except UnidentifiedImageError:
        raise _unreadable(content) from None
    except Exception as error:  # Parsers of a stranger's bytes raise whatever they stumble over.
        raise _damaged(content, error) from error
    if image.format in NEVER_DECODED:
        raise RowFault(
            "image_unsupported",
            f"{image.format} holds no pixels that can be decoded here: {CONVERT}.",
        )
    return image


def _pixels(image: Image.Image, content: bytes) -> Image.Image:
    try:
        image.load()
        if 0 in image.size:
            raise ValueError(f"{image.width} x {image.height} pixels")
        return flatten(upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise
    except Exception as error:  # So do decoders.
        unknown = re.search("loader|not available|nsupported", str(error))
        if unknown or isinstance(error, NotImplementedError):
            reason = f"This {image.format} cannot be decoded here ({_line(error)}): {CONVERT}."
            raise RowFault("image_unsupported", reason) from error
        raise _damaged(content, error) from error


def _unreadable(content: bytes) -> RowFault:
    for name, signature in UNSUPPORTED:
        if signature.match(content):
            return RowFault("image_unsupported", f"{name} cannot be decoded here: {CONVERT}.")
    for name, signature in SIGNATURES:
        if signature.match(content):
            return RowFault(
                "image_truncated",
                f"The {len(content):,} bytes begin as a {name} and end or break in its header: "
                "store the whole file again.",
            )
    begin = content[:12].hex(" ")
    return RowFault(
        "not_an_image",
        f"The {len(content):,} bytes are no picture (they begin with {begin}): "
        "store a JPEG, PNG or WebP.",
    )


def _damaged(content: bytes, error: Exception) -> RowFault:
    return RowFault(
        "image_truncated",
        f"The picture of {len(content):,} bytes is truncated or damaged ({_line(error)}): "
        "store the whole file again.",
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _too_large(pixels: int, max_pixels: int, sides: str) -> RowFault:
    return RowFault(
        "image_too_large",
        f"The picture has {sides}{pixels:,} pixels, and at most {max_pixels:,} are decoded: "
        "scale it down, or raise SIDECAR_MAX_IMAGE_PIXELS.",
    )


def _to_8_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips at 255. Samples of 16 bits span 0 to 65,535 by definition; those
    # of 32 bits and floats have no agreed range: what fits the usual one is taken to mean it, else
    # the picture's own is stretched.
    samples: np.ndarray[Any, np.dtype[np.float64]] = np.nan_to_num(
        np.asarray(image, dtype=np.float64)
    )
    low, high = float(samples.min()), float(samples.max())
    usual = 1.0 if image.mode == "F" else 65535.0
    if low >= 0 and high <= usual:
        low, high = 0.0, usual
    scaled = (samples - low) * (255.0 / max(high - low, np.finfo(np.float64).tiny))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
