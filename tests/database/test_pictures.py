"""Pictures and texts as people store them, through `sidecar run` with the bundled model."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from PIL import Image

from sidecar.bundled.captions import caption
from sidecar.bundled.drawings import draw
from tests.fix_live import SidecarProcess, wait_until_quiet
from tests.fix_postgres import Connect

Connection = psycopg.Connection[Any]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A small PNG that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture
def shop(connect: Connect, sidecar_process: Callable[..., SidecarProcess]) -> Connection:
    """A connection to a database with a live sidecar and an attached table `picture`."""
    connection = connect()
    connection.execute("create table picture (id int primary key, name text, photo bytea)")
    connection.execute(
        "select sidecar.attach('picture', 'photo'), sidecar.attach('picture', 'name')"
    )
    sidecar_process().ready()
    return connection


@pytest.mark.slow
def test_from_insert_to_a_right_search_result(shop: Connection) -> None:
    drawings = [draw(seed) for seed in range(150)]
    for number, (image, _) in enumerate(drawings):
        shop.execute("insert into picture values (%s, null, %s)", [number, encoded(image, "JPEG")])
    shop.execute("call sidecar.wait('picture', 'photo', timeout => '60s')")
    names = {(drawing.colour, drawing.shape) for _, drawing in drawings}
    right = 0
    for colour, shape in names:
        found = shop.execute(
            "select id from picture order by photo_embedding <=> sidecar.embed_text(%s) limit 1",
            [f"a {colour} {shape}"],
        ).fetchone()
        assert found is not None
        drawing = drawings[found[0]][1]
        right += (drawing.colour, drawing.shape) == (colour, shape)
    assert right >= 0.95 * len(names), f"{right} of {len(names)}"
    nearest = shop.execute(
        "select id from picture order by photo_embedding <=> sidecar.embed_image(%s) limit 1",
        [encoded(drawings[42][0], "JPEG")],
    ).fetchone()
    assert nearest == (42,)
    assert caption(drawings[0][1]) in {
        row[0]
        for row in shop.execute(
            "select (sidecar.classify(photo_embedding, %s)).label from picture where id = 0",
            [[caption(drawing) for _, drawing in drawings]],
        )
    }


@pytest.mark.slow
def test_bad_content_fails_alone_with_a_code(shop: Connection) -> None:
    image = draw(7)[0]
    jpeg = encoded(image, "JPEG")
    bad = {
        1: (b"no picture at all", "not_an_image"),
        2: (b"", "not_an_image"),
        3: (jpeg[: len(jpeg) // 2], "image_truncated"),
        4: (bomb(), "image_too_large"),
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [draw(seed)[0] for seed in (1, 2)]
    good = {
        11: encoded(image.convert("CMYK"), "JPEG"),
        12: encoded(image.convert("P"), "PNG"),
        13: encoded(Image.new("I;16", (80, 80), 40_000), "PNG"),
        14: encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        15: encoded(image, "JPEG", exif=exif),
        16: encoded(image.convert("RGBA"), "WEBP"),
    }
    contents = {**{key: value[0] for key, value in bad.items()}, **good}
    with shop.transaction():
        for key, content in contents.items():
            shop.execute("insert into picture values (%s, null, %s)", [key, content])
    wait_until_quiet(shop)
    failures = dict(shop.execute("select (key ->> 0)::int, error from sidecar.failures").fetchall())
    assert failures == {key: code for key, (_, code) in bad.items()}
    embedded = {
        row[0] for row in shop.execute("select id from picture where photo_embedding is not null")
    }
    assert embedded == set(good)
    shop.execute("update picture set photo = %s where id = 3", [jpeg])
    wait_until_quiet(shop)
    assert 3 not in dict(shop.execute("select (key ->> 0)::int, error from sidecar.failures"))


@pytest.mark.slow
def test_texts_of_any_kind(shop: Connection) -> None:
    texts = {
        1: "",
        2: " \n\t ",
        3: "a red circle " * 200,
        4: 'O\'Reilly "quoted" $$dollars$$ 100 % \\ backslash %s {} ?',
        5: "日本語 العربية 🟥🔴 e\u0301 \u200b\ufeff \U0001f468\u200d\U0001f469\u200d\U0001f467",
        6: "x" * 300_000,
    }
    for key, text in texts.items():
        shop.execute("insert into picture values (%s, %s, null)", [key, text])
    shop.execute("insert into picture values (9, null, null)")
    wait_until_quiet(shop)
    failures = dict(shop.execute("select (key ->> 0)::int, error from sidecar.failures").fetchall())
    assert failures == {1: "text_empty", 2: "text_empty"}
    embedded = {
        row[0] for row in shop.execute("select id from picture where name_embedding is not null")
    }
    assert embedded == {3, 4, 5, 6}
    for _ in range(50):
        truncated = shop.execute(
            "select truncated from sidecar.status where source_column = 'name'"
        ).fetchone()
        if truncated == (2,):
            break
        shop.execute("select pg_sleep(0.1)")
    # 6 as well: what is left of 300,000 letters does not fit either.
    assert truncated is not None
    assert truncated[0] >= 2
    for text in (texts[4], texts[5]):
        distance = shop.execute(
            "select min(name_embedding <=> sidecar.embed_text(%s)) from picture", [text]
        ).fetchone()
        assert distance is not None
        assert distance[0] < 1e-5
    with pytest.raises(psycopg.Error, match="empty"):
        shop.execute("select sidecar.embed_text('')")
    with pytest.raises(psycopg.Error, match=r"picture|image"):
        shop.execute("select sidecar.embed_image('no picture'::bytea)")
