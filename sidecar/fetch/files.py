"""Files under the roots that the operator lists; nothing else of the file system, by no path."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sidecar.errors import RowFault

PIECE = 1 << 20


def read_file(path: str, roots: Sequence[str], most: int) -> bytes:
    """The bytes of a regular file that lies under one of `roots`, once all links are followed.

    A relative path is looked for under each root in turn. Blocks; raises RowFault:
    file_outside_roots, file_not_found, fetch_refused, fetch_too_large, fetch_failed.
    """
    if not roots:
        raise _outside("SIDECAR_FILE_ROOTS is not set, so no file is read: set it, then retry.")
    if not path or "\0" in path:
        raise _missing("The value is no path: store a path, or NULL.")
    if path.startswith("file:"):
        raise _missing("The value is a URL: store the path alone, without file://.")
    real_roots = [os.path.realpath(root) for root in roots]
    candidates = [path] if os.path.isabs(path) else [os.path.join(root, path) for root in roots]
    problem: RowFault | None = None
    for candidate in candidates:
        try:
            return _read(candidate, real_roots, most)
        except RowFault as fault:
            if fault.code not in ("file_not_found", "file_outside_roots"):
                raise
            problem = problem or fault
    assert problem is not None
    raise problem


def _read(path: str, real_roots: Sequence[str], most: int) -> bytes:
    # Looking first keeps a device or a pipe outside from being opened at all. What decides is
    # where the file lies that was really opened, for links may change in between.
    _check(os.path.realpath(path), real_roots)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise _missing("No file is at this path: store the path of one, or NULL.") from None
    except PermissionError as error:
        raise RowFault(
            "fetch_forbidden",
            "The sidecar's account may not read this file: let it, then retry.",
        ) from error
    except OSError as error:
        raise _unreadable(error) from error
    try:
        _check(os.readlink(f"/proc/self/fd/{handle}"), real_roots)
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _missing("What is at this path is no regular file: store the path of a picture.")
        if status.st_size > most:
            raise _too_large(status.st_size, most)
        return _content(handle, most)
    except OSError as error:
        raise _unreadable(error) from error
    finally:
        os.close(handle)


def _content(handle: int, most: int) -> bytes:
    content = bytearray()
    while piece := os.read(handle, PIECE):
        content += piece
        if len(content) > most:
            raise _too_large(len(content), most)
    return bytes(content)


def _check(real: str, real_roots: Sequence[str]) -> None:
    if not any(Path(real).is_relative_to(root) for root in real_roots):
        raise _outside(
            "The path leads outside the directories in SIDECAR_FILE_ROOTS: store a path inside, or"
            " let an operator add the directory."
        )


def _outside(message: str) -> RowFault:
    return RowFault("file_outside_roots", message)


def _missing(message: str) -> RowFault:
    return RowFault("file_not_found", message)


def _unreadable(error: OSError) -> RowFault:
    reason = error.strerror or type(error).__name__
    return RowFault(
        "fetch_failed", f"The file cannot be read ({reason}): mend that.", permanent=False
    )


def _too_large(size: int, most: int) -> RowFault:
    return RowFault(
        "fetch_too_large",
        f"The file has {size:,} bytes or more, and at most {most:,} are allowed: store a smaller"
        " picture, or raise SIDECAR_MAX_IMAGE_BYTES.",
    )
