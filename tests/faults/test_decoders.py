"""A picture that kills, exhausts or hangs its decoder is the only row that suffers for it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from sidecar.errors import RowFault
from sidecar.pictures import pool
from sidecar.pictures.pool import Decoders
from sidecar.settings import Settings
from tests.fix_live import Start, wait_until_quiet
from tests.fix_postgres import Connect

# A format of Pillow's that only a test's processes know, through PYTHONPATH.
PLUGIN = """
import ctypes, os, sys, time
sys.path = [place for place in sys.path if place != {here!r}]
from PIL import Image, ImageFile

class Fatal(ImageFile.ImageFile):
    format = "FATAL"
    def _open(self):
        self._size, self._mode = (8, 8), "RGB"
        self.wish = self.fp.read().split()[1]
    def load(self):
        if self.wish == b"segfault":
            ctypes.string_at(0)
        if self.wish == b"memory":
            bytearray(8 << 30)
        if self.wish == b"hang":
            time.sleep(3600)
        if self.wish == b"exit":
            os._exit(3)
        if self.wish == b"print":
            os.write(1, b"a line\\n")
        self.im = Image.core.fill("RGB", (8, 8), (1, 2, 3))

Image.register_open("FATAL", Fatal, lambda start: start.startswith(b"FATAL"))
"""


@pytest.fixture
def fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders that start from now on do what a picture `FATAL segfault` says."""
    (tmp_path / "sitecustomize.py").write_text(PLUGIN.format(here=str(tmp_path)))
    places = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))


def is_decoder(pid: int) -> bool:
    try:
        return b"sidecar.pictures" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def decoders_of(pid: int) -> list[int]:
    """Processes that decode for this one."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and is_decoder(int(place.name)):
                found.append(int(place.name))
    return found


def png(colour: tuple[int, int, int] = (200, 0, 0)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.usefixtures("fatal")
def test_what_becomes_of_a_decoder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "DECODE_SECONDS", 8.0)
    decoders = Decoders(Settings(decoder_bytes=1 << 30))
    for wish, code, words, permanent in [
        (b"segfault", "decoder_crashed", "SIGSEGV", False),
        (b"exit", "decoder_crashed", "status 3", False),
        (b"hang", "decoder_crashed", "was killed after 8 s", False),
        (b"memory", "image_too_large", "SIDECAR_DECODER_BYTES", True),
    ]:
        with pytest.raises(RowFault, match=words) as caught:
            decoders.decode(b"FATAL " + wish)
        assert (caught.value.code, caught.value.permanent) == (code, permanent)
        assert decoders.decode(png()).getpixel((3, 3)) == (200, 0, 0)
    assert decoders.decode(b"FATAL print").getpixel((3, 3)) == (1, 2, 3)
    assert decoders.decode(png()).getpixel((3, 3)) == (200, 0, 0)
    decoders.stop()


def test_threads_have_a_process_each_and_pictures_keep_apart() -> None:
    decoders = Decoders(Settings())
    colours = [(n, 2 * n, 3 * n) for n in range(60)]
    seen: dict[int, object] = {}

    def work(part: int) -> None:
        for n in range(part, 60, 3):
            seen[n] = decoders.decode(png(colours[n])).getpixel((29, 19))

    threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seen[n] for n in range(60)] == colours
    assert 1 <= len(decoders_of(os.getpid())) <= 3
    decoders.stop()
    assert not decoders_of(os.getpid())


def test_only_plain_jpegs_are_decoded_here_and_with_all_not_even_those() -> None:
    def jpeg(mode: str) -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, (16, 16), 100).save(buffer, "JPEG")
        return buffer.getvalue()

    assert pool.plain_jpeg(jpeg("RGB"))
    assert pool.plain_jpeg(jpeg("L"))
    assert not pool.plain_jpeg(jpeg("CMYK"))
    assert not pool.plain_jpeg(jpeg("RGB")[:10])
    assert not pool.plain_jpeg(png())
    for isolate, started in (("others", 0), ("all", 1)):
        decoders = Decoders(Settings(isolate=isolate))
        assert decoders.decode(jpeg("RGB")).size == (16, 16)
        assert len(decoders_of(os.getpid())) == started
        decoders.stop()


def test_a_large_picture_leaves_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEPT_BYTES", 1 << 20)
    decoders = Decoders(Settings())
    buffer = io.BytesIO()
    Image.new("RGB", (1500, 1000), (9, 8, 7)).save(buffer, "PNG")
    assert decoders.decode(buffer.getvalue()).getpixel((1499, 999)) == (9, 8, 7)
    (idle,) = decoders._idle
    assert os.fstat(idle._memory.descriptor).st_blocks * 512 < 100_000
    assert decoders.decode(png()).getpixel((3, 3)) == (200, 0, 0)
    decoders.stop()


@pytest.mark.usefixtures("fatal")
def test_a_picture_that_kills_its_decoder_fails_alone_and_the_sidecar_lives(
    connect: Connect, live: Start
) -> None:
    connection = connect()
    connection.execute("create table picture (id int primary key, photo bytea)")
    connection.execute("select sidecar.attach('picture', 'photo', index => 'none')")
    live(max_attempts=2, batch_size=8)
    worker = connection.execute("select id, pid from sidecar.worker").fetchall()
    with connection.transaction():
        for n in range(1, 21):
            content = b"FATAL segfault" if n in (7, 20) else png((n, n, n))
            connection.execute("insert into picture values (%s, %s)", [n, content])
    wait_until_quiet(connection, 60)
    assert connection.execute(
        "select (key ->> 0)::int, error, attempts from sidecar.failures order by 1"
    ).fetchall() == [(n, "decoder_crashed", 2) for n in (7, 20)]
    assert connection.execute(
        "select count(*), count(photo_embedding) from picture"
    ).fetchone() == (20, 18)
    assert connection.execute("select id, pid from sidecar.worker").fetchall() == worker
    assert worker[0][1] == os.getpid()


def test_decoders_end_with_a_sidecar_that_is_killed() -> None:
    program = (
        "import sys, time; from sidecar.pictures.pool import Decoder; d = Decoder(1 << 30);"
        " print(d.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as sidecar:
        assert sidecar.stdout is not None
        sidecar.stdout.readline()
        decoders = decoders_of(sidecar.pid)
        assert len(decoders) == 1
        sidecar.kill()
    deadline = time.monotonic() + 30
    while any(map(is_decoder, decoders)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
