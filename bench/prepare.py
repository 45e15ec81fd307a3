"""What decoding in a process of its own costs: python -m bench.prepare

Processor time of all that takes part, ms per picture, so that other work on the machine does not
count. Threads and processes take turns in one run, on the same photographs of gradients and grain.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from bench.ground import report
from sidecar.pictures.decode import decode
from sidecar.pictures.pool import Decoder
from sidecar.settings import Settings

SIZES = {"1.2": (1280, 960), "12": (4000, 3000)}
KINDS = {"JPEG": {"quality": 88}, "PNG": {"compress_level": 4}, "WEBP": {"quality": 85}}
TURNS = {"1.2": 25, "12": 5}


def photograph(width: int, height: int) -> Image.Image:
    """Smooth areas with some grain, which compress about as a photograph does."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = generator.normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str) -> bytes:
    """The picture as a file of this kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **KINDS[kind])
    return buffer.getvalue()


def milliseconds(call: Callable[[bytes], Image.Image], content: bytes, clocks: list[int]) -> float:
    """Processor time of one call, by these clocks."""
    began = sum(map(time.clock_gettime, clocks))
    call(content)
    return 1000 * (sum(map(time.clock_gettime, clocks)) - began)


def clock_of(pid: int) -> int:
    """The processor time of another process (clock_getcpuclockid(3), as Linux makes it)."""
    return (~pid << 3) | 2


def main() -> None:
    """Prints one table."""
    settings = Settings()
    decoder = Decoder(settings.decoder_bytes)
    mine = time.CLOCK_THREAD_CPUTIME_ID
    both = [mine, clock_of(decoder.pid)]
    most = settings.max_image_pixels
    rows: list[list[str]] = []
    for name, size in SIZES.items():
        image = photograph(*size)
        for kind in KINDS:
            content = encoded(image, kind)
            here: list[float] = []
            there: list[float] = []
            for _ in range(TURNS[name] + 1):
                here.append(milliseconds(lambda c: decode(c, most), content, [mine]))
                there.append(milliseconds(lambda c: decoder.decode(c, most), content, both))
            on_thread, in_process = statistics.median(here[1:]), statistics.median(there[1:])
            rows.append(
                [
                    f"{kind}, {name} megapixels, {len(content) / 1e6:.1f} MB",
                    f"{on_thread:.1f}",
                    f"{in_process:.1f}",
                    f"{in_process / on_thread:.2f}",
                ]
            )
    decoder.stop()
    report("Decoding, ms per picture", ["", "thread", "process", "ratio"], rows)


if __name__ == "__main__":
    main()
