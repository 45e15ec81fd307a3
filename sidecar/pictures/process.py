"""The process that decodes pictures for a sidecar, one after the other: it may die of one, and
takes nothing else with it.

A request is a line of JSON, `bytes` and `max_pixels`, with the encoded picture at the start of the
shared memory; the answer is another line: `size` and `end`, with the pixels there instead,
or `fault`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import IO, Any, BinaryIO, cast

from sidecar.errors import RowFault
from sidecar.pictures.shared import Shared

HEADER = 64
"""Most bytes of a PPM before its pixels."""


def main(memory: int, most_bytes: int) -> None:
    """Serves requests from stdin until it closes, which it does however the sidecar ends.

    `memory` is the file descriptor of the shared memory, `most_bytes` the address space allowed.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a decoder that prints is not heard
        serve(Shared(memory), sys.stdin.buffer, answers)


def serve(memory: Shared, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers each request."""
    from sidecar.pictures.decode import learn_formats

    learn_formats()
    for line in requests:
        asked = json.loads(line)
        said = answer(memory, asked["bytes"], asked["max_pixels"])
        answers.write(json.dumps(said).encode() + b"\n")
        answers.flush()


def answer(memory: Shared, size: int, max_pixels: int) -> dict[str, Any]:
    """What to say of one picture."""
    from sidecar.pictures.decode import decode

    try:
        with memory.view(size) as encoded:
            content = bytes(encoded)
        image = decode(content, max_pixels)
        # A PPM is a line or two and then the pixels; tobytes() would make two more copies of them.
        writer = memory.writer(image.width * image.height * 3 + HEADER)
        image.save(cast(IO[bytes], writer), "PPM")
        return {"size": image.size, "end": writer.written}
    except RowFault as fault:
        return {"fault": [fault.code, str(fault)]}
    except MemoryError:
        message = (
            "The picture takes more memory to decode than is allowed: scale it down, or raise"
            " SIDECAR_DECODER_BYTES."
        )
        return {"fault": ["image_too_large", message]}
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"fault": ["prepare_failed", reason]}
