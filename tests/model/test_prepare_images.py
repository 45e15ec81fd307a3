"""Every kind of picture that a bytea column may hold, and every kind of bytes that are none."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from sidecar.bundled.drawings import draw
from sidecar.errors import RowFault
from sidecar.model import Model
from sidecar.pictures.decode import learn_formats
from sidecar.records import Prepared

Prepare = Callable[..., Prepared]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture() -> Image.Image:
    """Not square, and different in every corner."""
    image = Image.new("RGB", (160, 100), "white")
    image.paste(draw(7)[0].resize((80, 80)), (5, 15))
    image.paste((20, 60, 200), (120, 0, 160, 30))
    return image


def fault_of(prepared: Prepare, content: bytes, **options: int) -> RowFault:
    with pytest.raises(RowFault) as caught:
        prepared(content, **options)
    assert caught.value.permanent
    assert "\n" not in str(caught.value)
    return caught.value


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""Orientation -> how a camera that writes it stores an upright picture."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_picture_with_exif_rotation_is_as_the_upright_one(
    prepared: Prepare, model: Model, orientation: int, kind: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = encoded(picture().transpose(TURNS[orientation]), kind, exif=exif.tobytes(), **options)
    assert torch.equal(prepared(stored).tensor, model.transform(picture()))


def test_a_jpeg_with_exif_rotation_is_as_the_upright_one(prepared: Prepare, model: Model) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = encoded(picture(), "JPEG", exif=exif.tobytes(), quality=95)
    decoded = Image.open(io.BytesIO(encoded(picture(), "JPEG", quality=95)))
    assert torch.equal(
        prepared(stored).tensor, model.transform(decoded.transpose(Image.Transpose.ROTATE_270))
    )


def test_broken_exif_counts_as_none(prepared: Prepare, model: Model) -> None:
    stored = encoded(picture(), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\x01")
    assert torch.equal(prepared(stored).tensor, model.transform(picture()))


def test_transparency_of_every_kind_becomes_white(prepared: Prepare, model: Model) -> None:
    colours = picture()
    alpha = Image.new("L", colours.size, 255)
    alpha.paste(0, (0, 0, 60, 100))
    on_white = Image.composite(colours, Image.new("RGB", colours.size, "white"), alpha)
    with_alpha = colours.copy()
    with_alpha.putalpha(alpha)
    assert torch.equal(prepared(encoded(with_alpha)).tensor, model.transform(on_white))

    grey = colours.convert("L")
    grey_on_white = Image.composite(grey, Image.new("L", grey.size, 255), alpha)
    with_alpha = grey.copy()
    with_alpha.putalpha(alpha)
    assert torch.equal(
        prepared(encoded(with_alpha)).tensor, model.transform(grey_on_white.convert("RGB"))
    )


def test_a_palette_with_a_transparent_entry_becomes_white_there(
    prepared: Prepare, model: Model
) -> None:
    image = Image.new("P", (120, 100), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.paste(1, (30, 20, 90, 80))
    expected = Image.new("RGB", image.size, "white")
    expected.paste((200, 0, 0), (30, 20, 90, 80))
    assert torch.equal(prepared(encoded(image, transparency=0)).tensor, model.transform(expected))
    opaque = Image.new("RGB", image.size, (10, 20, 30))
    opaque.paste((200, 0, 0), (30, 20, 90, 80))
    assert torch.equal(prepared(encoded(image)).tensor, model.transform(opaque))


def test_a_transparent_colour_of_an_rgb_png_becomes_white(prepared: Prepare, model: Model) -> None:
    image = Image.new("RGB", (100, 100), (1, 2, 3))
    image.paste((200, 0, 0), (30, 20, 90, 80))
    expected = Image.new("RGB", image.size, "white")
    expected.paste((200, 0, 0), (30, 20, 90, 80))
    assert torch.equal(
        prepared(encoded(image, transparency=(1, 2, 3))).tensor, model.transform(expected)
    )


def test_a_cmyk_jpeg_looks_like_the_rgb_one(prepared: Prepare, model: Model) -> None:
    tensor = prepared(encoded(picture().convert("CMYK"), "JPEG", quality=95)).tensor
    assert (tensor - model.transform(picture())).abs().mean() < 0.05


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_greyscale_is_scaled_and_not_clipped(
    prepared: Prepare, model: Model, kind: str
) -> None:
    eight = np.asarray(picture().convert("L"))
    stored = encoded(Image.fromarray(eight.astype(np.uint16) * 257), kind)
    assert torch.equal(
        prepared(stored).tensor, model.transform(Image.fromarray(eight).convert("RGB"))
    )


def test_floating_point_pixels_from_nought_to_one_are_scaled(
    prepared: Prepare, model: Model
) -> None:
    eight = np.asarray(picture().convert("L"))
    stored = encoded(Image.fromarray(eight.astype(np.float32) / 255), "TIFF")
    assert torch.equal(
        prepared(stored).tensor, model.transform(Image.fromarray(eight).convert("RGB"))
    )


def test_black_and_white_pixels_are_a_picture(prepared: Prepare, model: Model) -> None:
    image = picture().convert("1")
    assert torch.equal(prepared(encoded(image)).tensor, model.transform(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(prepared: Prepare, model: Model, kind: str) -> None:
    first, second = Image.new("RGB", (80, 80), (200, 0, 0)), Image.new("RGB", (80, 80), (0, 0, 200))
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = encoded(first, kind, save_all=True, append_images=[second], **options)
    assert getattr(Image.open(io.BytesIO(stored)), "n_frames", 1) == 2
    assert torch.equal(prepared(stored).tensor, model.transform(first))


def test_a_very_long_strip_is_its_middle(prepared: Prepare) -> None:
    strip = Image.new("RGB", (60_000, 1), (200, 0, 0))
    strip.paste((0, 0, 200), (29_000, 0, 31_000, 1))
    tensor = prepared(encoded(strip)).tensor
    assert tensor.shape == (3, 72, 72)
    assert torch.equal(tensor, prepared(encoded(Image.new("RGB", (9, 9), (0, 0, 200)))).tensor)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_bytes_are_a_fault_of_their_row(
    prepared: Prepare, kind: str, share: float
) -> None:
    whole = encoded(Image.effect_noise((160, 100), 80), kind)
    fault = fault_of(prepared, whole[: int(len(whole) * share)])
    assert fault.code == "image_truncated"
    assert f"{int(len(whole) * share):,} bytes" in str(fault)


def test_a_jpeg_cut_inside_its_header_is_truncated(prepared: Prepare) -> None:
    assert fault_of(prepared, encoded(picture(), "JPEG")[:12]).code == "image_truncated"


def test_a_png_with_a_broken_checksum_is_damaged(prepared: Prepare) -> None:
    whole = bytearray(encoded(picture()))
    whole[60] ^= 0xFF
    assert fault_of(prepared, bytes(whole)).code == "image_truncated"


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"not a picture", b"<html></html>", bytes(range(256)) * 40]
)
def test_bytes_that_are_no_picture_are_a_fault_of_their_row(
    prepared: Prepare, content: bytes
) -> None:
    fault = fault_of(prepared, content)
    assert fault.code == "not_an_image"
    assert f"{len(content):,} bytes" in str(fault)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n", "EPS"),
        (
            b"\xd7\xcd\xc6\x9a\x00\x00"
            + struct.pack("<4hH", 0, 0, 100, 100, 96)
            + bytes(6)
            + b"\x01\x00\t\x00"
            + bytes(40),
            "WMF",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_format_that_cannot_be_decoded_here_is_named(
    prepared: Prepare, content: bytes, name: str
) -> None:
    fault = fault_of(prepared, content)
    assert fault.code == "image_unsupported"
    assert name in str(fault)
    assert "JPEG, PNG or WebP" in str(fault)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it has this size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    body = (
        chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
        + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [14_000, 50_000])
def test_a_decompression_bomb_is_refused_by_its_header(prepared: Prepare, side: int) -> None:
    fault = fault_of(prepared, bomb(side, side))
    assert fault.code == "image_too_large"
    assert f"{side * side:,} pixels" in str(fault)
    assert "SIDECAR_MAX_IMAGE_PIXELS" in str(fault)


def test_the_limit_of_pixels_is_the_callers(prepared: Prepare) -> None:
    fault = fault_of(prepared, encoded(picture()), max_pixels=15_999)
    assert fault.code == "image_too_large"
    assert "160 x 100 = 16,000 pixels" in str(fault)
    assert prepared(encoded(picture()), max_pixels=16_000).tensor.shape == (3, 72, 72)


@pytest.mark.parametrize("quality", [90, 100])
def test_an_avif_looks_like_what_was_stored(prepared: Prepare, model: Model, quality: int) -> None:
    tensor = prepared(encoded(picture(), "AVIF", quality=quality)).tensor
    assert (tensor - model.transform(picture())).abs().mean() < 0.1


def test_a_heif_looks_like_what_was_stored(prepared: Prepare, model: Model) -> None:
    learn_formats()
    exif = Image.Exif()
    exif[0x0112] = 6
    for options in ({}, {"exif": exif.tobytes()}):
        tensor = prepared(encoded(picture(), "HEIF", quality=95, **options)).tensor
        turned = picture().transpose(Image.Transpose.ROTATE_270) if options else picture()
        assert (tensor - model.transform(turned)).abs().mean() < 0.1
    assert fault_of(prepared, encoded(picture(), "HEIF")[:400]).code == "image_truncated"


def cmyk_profile(ink: tuple[int, int, int], paper: tuple[int, int, int]) -> bytes:
    """An ICC profile (version 2, 7.2 and 10.8) of a press whose colours all look like `ink`.

    Lab colours as ICC writes them in 8 bits: L * 2.55, a + 128, b + 128.
    """

    def tag(kind: bytes, body: bytes) -> bytes:
        return kind + bytes(4) + body

    identity = struct.pack(">9i", *(65536 if n % 4 == 0 else 0 for n in range(9)))
    ramp = bytes(range(256))
    black = (0, 128, 128)
    inks = [paper, black, *[ink, black] * 7]  # the fourth ink is every other corner
    corners = b"".join(map(bytes, inks))
    table = tag(b"mft1", bytes([4, 3, 2, 0]) + identity + ramp * 4 + corners + ramp * 3)
    white = tag(b"XYZ ", struct.pack(">3i", 63190, 65536, 54061))
    name = tag(b"desc", struct.pack(">I", 5) + b"test\0" + bytes(78))
    text = tag(b"text", b"none\0")
    body, entries = b"", b""
    for signature, content in (
        (b"desc", name),
        (b"cprt", text),
        (b"wtpt", white),
        (b"A2B0", table),
    ):
        entries += signature + struct.pack(">2I", 128 + 4 + 48 + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I", 128 + 4 + 48 + len(body)) + bytes(4) + b"\x02\x40\0\0"
    header += (
        b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    )
    return header.ljust(128, b"\0") + struct.pack(">I", 4) + entries + body


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_have_the_colour_that_their_profile_says(prepared: Prepare, kind: str) -> None:
    # This press prints cyan as a dark red: L 40, a 60, b 40.
    profile = cmyk_profile((102, 188, 168), (255, 128, 128))
    cyan = Image.new("CMYK", (64, 64), (255, 0, 0, 0))
    with_profile = prepared(encoded(cyan, kind, icc_profile=profile)).tensor.mean((1, 2))
    without = prepared(encoded(cyan, kind)).tensor.mean((1, 2))
    assert with_profile[0] > with_profile[2]
    assert without[0] < without[2]
    broken = prepared(encoded(cyan, kind, icc_profile=profile[:200])).tensor.mean((1, 2))
    assert torch.equal(broken, without)
