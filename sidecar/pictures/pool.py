"""The processes that decode pictures, as threads use them: each thread has one at a time.

They are started when there is first work for them, and stay. A JPEG of grey or RGB pixels is
decoded on the thread itself unless `isolate` says otherwise: libjpeg-turbo is the decoder that has
been attacked most, and to hand its pixels over costs as much as to decode them
(bench/prepare.py).
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from sidecar.errors import RowFault
from sidecar.pictures.decode import decode
from sidecar.pictures.shared import Shared
from sidecar.settings import Settings

DECODE_SECONDS = 60.0
"""Longest that a picture may take; a decoder that hangs is killed then."""
KEPT_BYTES = 64 * 1024 * 1024
"""Shared memory that a process keeps between pictures."""
ROOT = str(Path(__file__).resolve().parents[2])
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from sidecar.pictures.process import main;"
    " main(int(sys.argv[2]), int(sys.argv[3]))"
)


class Decoder:
    """One process. Starting returns at once; the first picture waits for it."""

    def __init__(self, most_bytes: int) -> None:
        self._memory = Shared(os.memfd_create("sidecar-picture"))
        descriptor = self._memory.descriptor
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, ROOT, str(descriptor), str(most_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[descriptor],
            process_group=0,  # Ctrl-C is for the sidecar, which then stops its decoders
        )
        self.pid = self._process.pid

    def decode(self, content: bytes, max_pixels: int) -> Image.Image:
        """An upright RGB picture. Raises RowFault; decoder_crashed where the process is gone."""
        answer = self._ask(content, max_pixels)
        if "fault" in answer:
            code, message = answer["fault"]
            raise RowFault(code, message, permanent=code != "prepare_failed")
        width, height = answer["size"]
        end = answer["end"]
        with self._memory.view(end) as written, written[end - width * height * 3 :] as pixels:
            image = Image.frombytes("RGB", (width, height), pixels)
        if end > KEPT_BYTES:
            self._memory.empty()
        return image

    def alive(self) -> bool:
        """Whether it can take another picture."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the process; harmless when it has ended."""
        self._process.kill()
        self._process.communicate()
        self._memory.close()

    def _ask(self, content: bytes, max_pixels: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"bytes": len(content), "max_pixels": max_pixels}
        try:
            self._memory.write(content)
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            waiting = select.poll()
            waiting.register(self._process.stdout, select.POLLIN)
            if not waiting.poll(DECODE_SECONDS * 1000):
                self._process.kill()
                self._process.wait()
                raise _crashed(f"was killed after {DECODE_SECONDS:g} s")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            status = self._process.wait()
            name = signal.Signals(-status).name if status < 0 else f"status {status}"
            raise _crashed(f"died with {name}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Decoders:
    """As many processes as threads ask at once."""

    def __init__(self, settings: Settings) -> None:
        self._max_pixels = settings.max_image_pixels
        self._most_bytes = settings.decoder_bytes
        self._isolate_all = settings.isolate == "all"
        self._lock = threading.Lock()
        self._idle: list[Decoder] = []
        self._stopped = False

    def decode(self, content: bytes) -> Image.Image:
        """An upright RGB picture out of encoded bytes; blocks its thread.

        Raises RowFault: not_an_image, image_truncated, image_too_large, image_unsupported,
        prepare_failed, decoder_crashed.
        """
        if not self._isolate_all and plain_jpeg(content):
            return decode(content, self._max_pixels)
        with self._lock:
            decoder = self._idle.pop() if self._idle else Decoder(self._most_bytes)
        try:
            return decoder.decode(content, self._max_pixels)
        finally:
            with self._lock:
                goes_on = decoder.alive() and not self._stopped
                if goes_on:
                    self._idle.append(decoder)
            if not goes_on:
                decoder.stop()

    def stop(self) -> None:
        """Ends the processes; one that is at work ends after its picture."""
        with self._lock:
            idle, self._idle, self._stopped = self._idle, [], True
        for decoder in idle:
            decoder.stop()


def plain_jpeg(content: bytes) -> bool:
    """Whether these are a JPEG whose pixels are grey or RGB: no inks, so no profile either."""
    if not content.startswith(b"\xff\xd8\xff"):
        return False
    try:
        return Image.open(io.BytesIO(content), formats=["JPEG"]).mode in ("L", "RGB")
    except Exception:  # Whatever it is, the process that decodes will say.
        return False


def _crashed(how: str) -> RowFault:
    return RowFault(
        "decoder_crashed",
        f"The process that decoded this picture {how}: convert it to JPEG, PNG or WebP and store it"
        " again.",
        permanent=False,
    )
