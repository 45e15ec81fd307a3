"""Questions over HTTP: the same vectors as from SQL, in the same batches, or a problem document."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from sidecar.errors import ServiceFault
from tests.fix_http import HttpSidecar, Reply, StartHttp, png
from tests.fix_live import text_vector
from tests.fix_postgres import Connect


def until(condition: Callable[[], bool]) -> None:
    """Returns when it holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def waiting(sidecar: HttpSidecar) -> int:
    calls = sidecar.presence.calls
    assert calls is not None
    return len(calls)


def problem(reply: Reply, status: int, code: str) -> dict[str, object]:
    """The document, which must be one of RFC 9457 with this status and code."""
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    document: dict[str, object] = reply.body
    assert document["status"] == status, document
    assert document["code"] == code, document
    assert document["type"] == f"urn:sidecar:error:{code}"
    assert document["title"]
    assert document["detail"]
    return document


def test_a_text_a_batch_and_a_picture(http_sidecar: StartHttp, connect: Connect) -> None:
    client = http_sidecar().client
    one = client.text("a red bicycle")
    assert one.status == 200, one.text
    assert one.body["model"] == "hash"
    assert one.body["width"] == 768
    assert one.body["truncated"] is False
    assert np.array_equal(np.float32(one.body["embedding"]), text_vector("a red bicycle"))
    assert np.linalg.norm(one.body["embedding"]) == pytest.approx(1, abs=1e-6)
    several = client.texts("a", "b" * 500, "a")
    assert several.status == 200, several.text
    assert several.body["truncated"] == [False, True, False]
    wanted = [text_vector("a"), text_vector("b" * 500), text_vector("a")]
    assert np.array_equal(np.float32(several.body["embeddings"]), wanted)
    picture = client.image(png(20, 20))
    assert picture.status == 200, picture.text
    row = connect().execute("select sidecar.embed_image(%s)::real[]", [png(20, 20)]).fetchone()
    assert row is not None
    assert np.array_equal(np.float32(row[0]), np.float32(picture.body["embedding"]))


def test_what_arrives_while_the_model_works_shares_a_batch_with_questions_from_sql(
    http_sidecar: StartHttp, connect: Connect
) -> None:
    sidecar = http_sidecar()
    client, connection = sidecar.client, connect()
    for number in range(6):  # batches grow by doubling
        assert client.text(f"warm {number}").status == 200
    sidecar.gates.hold("before_model")
    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(client.text, "first")
        sidecar.gates.wait("before_model")
        in_sql = pool.submit(connection.execute, "select sidecar.embed_text('from sql')")
        look = connect()
        taken = "select exists (select from sidecar.request where taken_until is not null)"
        until(lambda: look.execute(taken).fetchone() == (True,))
        others = [pool.submit(client.text, f"other {number}") for number in range(15)]
        until(lambda: waiting(sidecar) == 16)
        sidecar.gates.let_go("before_model")
        assert first.result().status == 200
        assert {other.result().status for other in others} == {200}
        assert in_sql.result().fetchone() is not None
    assert sidecar.encoder.batches[-2:] == [1, 16]


PICTURES_AT_FAULT = [
    (b"no picture", 422, "not_an_image"),
    (b"", 422, "not_an_image"),
    (png()[:40], 422, "image_truncated"),
    (b"%PDF-1.7 and so on", 415, "image_unsupported"),
    (png(40, 40), 413, "image_too_large"),
]


def test_what_is_at_fault_has_the_code_that_a_row_would_have(http_sidecar: StartHttp) -> None:
    client = http_sidecar(max_image_pixels=1000).client
    for content, status, code in PICTURES_AT_FAULT:
        problem(client.image(content), status, code)
    problem(client.text(" \n"), 422, "text_empty")
    found = problem(client.texts("a", "b", " "), 422, "text_empty")
    assert found["position"] == 2


def test_a_model_that_fails_blames_the_text_or_the_service(http_sidecar: StartHttp) -> None:
    sidecar = http_sidecar()

    def refuse(_: Sequence[torch.Tensor]) -> None:
        raise ValueError("nothing of the question")

    def break_down(_: Sequence[torch.Tensor]) -> None:
        raise ServiceFault("The device is gone.")

    sidecar.encoder.fails = refuse
    problem(sidecar.client.text("a"), 500, "model_failed")
    sidecar.encoder.fails = break_down
    reply = sidecar.client.text("a")
    assert problem(reply, 503, "unavailable")["detail"] == "The device is gone."
    assert int(reply.headers["retry-after"]) > 0


MALFORMED: list[tuple[str, object, dict[str, str], int]] = [
    ("/embed/text", {"text": 7}, {}, 422),
    ("/embed/text", {"text": None}, {}, 422),
    ("/embed/text", {"words": "secret"}, {}, 422),
    ("/embed/text", {"text": "a", "secret \ud800": 1}, {}, 422),
    ("/embed/text", b'{"text": "secret', {"content-type": "application/json"}, 422),
    ("/embed/text", b'{"text": "\xff"}', {"content-type": "application/json"}, 400),
    ("/embed/text", b'{"text": "a"}', {"content-type": "text/plain"}, 422),
    ("/embed/text/batch", {"texts": []}, {}, 422),
    ("/embed/text/batch", {"texts": ["a", None]}, {}, 422),
    ("/embed/image", b"secret", {"content-type": "image/png"}, 422),
    ("/embed/image", b"--x", {"content-type": "multipart/form-data; boundary=x"}, 422),
    ("/embed/image", b"--x", {"content-type": "multipart/form-data"}, 400),
]


def test_a_request_that_is_not_as_it_should_be(http_sidecar: StartHttp) -> None:
    client = http_sidecar().client
    for path, body, headers, status in MALFORMED:
        reply = client.ask("POST", path, body, headers)
        found = problem(reply, status, "request_invalid")
        assert "secret" not in str(found["detail"])
    problem(client.get("/nothing"), 404, "not_found")
    reply = client.get("/embed/text")
    problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"


def test_a_full_queue_sends_away_with_the_time_to_come_again(http_sidecar: StartHttp) -> None:
    sidecar = http_sidecar(http_queue=3)
    client = sidecar.client
    sidecar.gates.hold("before_model")
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.text, "first")
        sidecar.gates.wait("before_model")
        second = pool.submit(client.texts, "second", "third")
        until(lambda: waiting(sidecar) == 3)
        reply = client.text("one too many")
        problem(reply, 429, "busy")
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        sidecar.gates.let_go("before_model")
        assert (first.result().status, second.result().status) == (200, 200)
    assert client.text("one too many").status == 200
    problem(client.texts("a", "b", "c", "d"), 413, "batch_too_large")


def test_who_goes_away_leaves_no_work_behind(http_sidecar: StartHttp) -> None:
    sidecar = http_sidecar()
    client = sidecar.client
    sidecar.gates.hold("before_model")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.text, "first")
        sidecar.gates.wait("before_model")
        with client.half("POST /embed/text HTTP/1.1\r\ncontent-length: 16", b'{"text": "gone"}'):
            until(lambda: waiting(sidecar) == 2)
        until(lambda: waiting(sidecar) == 1)
        sidecar.gates.let_go("before_model")
        assert first.result().status == 200
    assert client.text("last").status == 200
    assert sidecar.encoder.asked == 2


def test_a_request_has_its_time(http_sidecar: StartHttp) -> None:
    sidecar = http_sidecar(http_timeout=1.0)
    sidecar.gates.hold("before_model")
    problem(sidecar.client.text("too slow"), 504, "timeout")
    sidecar.gates.let_go("before_model")
    with sidecar.client.half("POST /embed/text HTTP/1.1\r\ncontent-length: 100", b"{") as half:
        problem(half.reply(), 408, "timeout")
    assert waiting(sidecar) == 0


def test_a_body_has_its_size_whether_it_says_so_or_not(http_sidecar: StartHttp) -> None:
    client = http_sidecar(max_image_bytes=1000).client
    assert client.image(png()).status == 200
    problem(client.image(bytes(100_000)), 413, "body_too_large")
    with client.half("POST /embed/text HTTP/1.1\r\ncontent-length: 9000000", b"{") as half:
        problem(half.reply(), 413, "body_too_large")
    start = "POST /embed/image HTTP/1.1\r\ntransfer-encoding: chunked"
    with client.half(start, b"%x\r\n%s\r\n" % (100_000, bytes(100_000))) as half:
        problem(half.reply(), 413, "body_too_large")


def test_bodies_under_way_have_a_size_together(http_sidecar: StartHttp) -> None:
    client = http_sidecar(max_image_bytes=1000).client
    start = "POST /embed/image HTTP/1.1\r\ntransfer-encoding: chunked"
    with client.half(start), client.half(start), client.half(start), client.half(start):
        until(lambda: client.image(png()).status == 429)
        reply = client.image(png())
        problem(reply, 429, "busy")
        assert reply.headers["retry-after"] == "1"
    until(lambda: client.image(png()).status == 200)
