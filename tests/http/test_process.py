"""HTTP of a `sidecar run` as a process: from before its model is there to after SIGTERM."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tests.fix_http import Client
from tests.fix_live import SidecarProcess
from tests.fix_postgres import Connect
from tests.http.test_questions import until

StartProcess = Callable[..., SidecarProcess]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_process_answers_over_http_what_sql_answers_and_logs_no_question(
    sidecar_process: StartProcess, connect: Connect
) -> None:
    port = free_port()
    client = Client(port)
    first = sidecar_process(SIDECAR_HTTP=f"127.0.0.1:{port}")
    first.ready()
    ready = client.get("/readyz")
    assert (ready.status, ready.body["model"]) == (200, "bundled")

    second = sidecar_process(SIDECAR_HTTP=f"127.0.0.1:{port}")
    assert second.process.wait(60) == 1
    second._reader.join()
    assert f"SIDECAR_HTTP=127.0.0.1:{port} cannot be listened on" in second.log[-1]

    asked = client.text("a red circle, told to nobody")
    assert asked.status == 200, asked.text
    assert asked.body["width"] == 768
    row = (
        connect()
        .execute("select sidecar.embed_text('a red circle, told to nobody')::real[]")
        .fetchone()
    )
    assert row is not None
    assert np.allclose(row[0], asked.body["embedding"], atol=1e-5)
    assert client.ask("POST", "/embed/text", {"told to nobody": 1}).status == 422
    assert client.image(b"told to nobody").status == 422

    with ThreadPoolExecutor(8) as pool, socket.create_connection(("127.0.0.1", port)) as idle:
        asking = [
            pool.submit(client.texts, *[f"text {n} {m}" for m in range(50)]) for n in range(8)
        ]
        until(lambda: any(one.done() for one in asking))
        assert first.terminate() == 0
        assert {one.result().status for one in asking} <= {200, 503}
        idle.settimeout(5)
        assert idle.recv(1) == b""
    first._reader.join()
    log = "".join(first.log)
    assert "told to nobody" not in log
    assert "Traceback" not in log
    assert '"event": "stopped"' in log
