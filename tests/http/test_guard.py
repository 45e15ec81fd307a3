"""Who may ask: by which name, from which page, with which token."""

from __future__ import annotations

import asyncio
import socket

import pytest

from sidecar.errors import ServiceFault, SettingsError
from sidecar.http import server
from sidecar.http.server import answering, listen
from sidecar.presence import Presence
from sidecar.settings import Settings
from tests.fix_http import Client, StartHttp
from tests.http.test_questions import problem

TOKEN = "a-token-of-more-than-16"


def test_a_loopback_address_answers_to_no_other_name(http_sidecar: StartHttp) -> None:
    client = http_sidecar().client
    for host in ("evil.example", f"evil.example:{client.port}", "127.0.0.1.evil.example", ""):
        problem(client.get("/healthz", host=host), 421, "host_refused")
    for host in ("localhost", f"LOCALHOST:{client.port}", "127.0.0.1", "[::1]:9000"):
        assert client.get("/healthz", host=host).status == 200, host


def test_no_page_of_another_origin_may_ask(http_sidecar: StartHttp) -> None:
    client = http_sidecar().client
    body = {"text": "a cat"}
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{client.port + 1}"):
        reply = client.ask("POST", "/embed/text", body, {"origin": origin})
        problem(reply, 403, "origin_refused")
        assert "access-control-allow-origin" not in reply.headers
    own = {"origin": f"http://127.0.0.1:{client.port}"}
    assert client.ask("POST", "/embed/text", body, own).status == 200


def test_with_a_token_all_but_health_and_description_ask_for_it(http_sidecar: StartHttp) -> None:
    client = http_sidecar(token=TOKEN).client
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert client.get(path).status == 200, path
    asked = {"text": "a cat"}
    wrong = ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe4")
    for header in wrong:
        reply = client.ask("POST", "/embed/text", asked, {"authorization": header})
        problem(reply, 401, "unauthorized")
        assert reply.headers["www-authenticate"] == "Bearer"
    problem(client.get("/metrics"), 401, "unauthorized")
    right = {"authorization": f"bearer {TOKEN}"}
    assert client.ask("POST", "/embed/text", asked, right).status == 200
    assert client.ask("GET", "/metrics", headers=right).status == 200


async def test_an_address_that_others_reach_is_not_opened_without_a_token() -> None:
    with pytest.raises(SettingsError, match="SIDECAR_TOKEN"):
        listen(Settings(http="0.0.0.0:0"))
    with pytest.raises(SettingsError, match="SIDECAR_TOKEN"):
        async with answering(Settings(http="[::]:0"), Presence()):
            pass


def test_with_a_token_other_machines_may_call_it_by_any_name(http_sidecar: StartHttp) -> None:
    client = http_sidecar(http="0.0.0.0:0", token=TOKEN).client
    assert client.get("/healthz", host="sidecar.example").status == 200


async def test_a_port_in_use_is_an_error_where_it_was_asked_for_and_a_warning_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering(Settings(http="127.0.0.1:0"), Presence()) as port:
        address = f"127.0.0.1:{port}"
        with pytest.raises(ServiceFault, match=f"SIDECAR_HTTP={address} cannot be listened on"):
            listen(Settings(http=address))
        monkeypatch.setattr(server, "DEFAULT", address)
        assert listen(Settings()) is None
        assert [record.getMessage() for record in caplog.records] == ["http_off"]
    assert listen(Settings(http="off")) is None


def test_no_part_of_an_answer_waits_for_an_acknowledgement() -> None:
    listener = listen(Settings(http="127.0.0.1:0"))
    assert listener is not None
    with listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_before_the_model_is_there_it_is_alive_and_not_ready() -> None:
    presence = Presence()
    async with answering(Settings(http="127.0.0.1:0"), presence) as port:
        assert port is not None
        client = Client(port)
        alive = await asyncio.to_thread(client.get, "/healthz")
        assert (alive.status, alive.body) == (200, {"status": "alive"})
        found = problem(await asyncio.to_thread(client.get, "/readyz"), 503, "not_ready")
        assert found["reasons"] == [
            "the model is being loaded and warmed up",
            "the database was not reached yet",
        ]
        asked = await asyncio.to_thread(client.text, "a cat")
        problem(asked, 503, "unavailable")
        assert "retry-after" in asked.headers
        figures = await asyncio.to_thread(client.get, "/metrics")
        assert figures.status == 200


def test_ready_says_what_serves(http_sidecar: StartHttp) -> None:
    sidecar = http_sidecar()
    ready = sidecar.client.get("/readyz")
    assert ready.status == 200
    assert ready.body.pop("heartbeat_age_seconds") is not None
    told = ready.body
    del told["heartbeat_age_seconds"]
    assert told == {"status": "ready", "model": "hash", "width": 768, "device": "cpu"}
    sidecar.presence.stopping = True
    assert problem(sidecar.client.get("/readyz"), 503, "not_ready")["reasons"] == ["it stops"]


def test_a_heartbeat_that_is_old_is_a_reason() -> None:
    now = 100.0
    presence = Presence(clock=lambda: now)
    assert "the database was not reached yet" in presence.reasons()
    presence.beat()
    now += 9.9
    assert presence.reasons() == ["the model is being loaded and warmed up"]
    now += 5.1
    assert "the database has had no heartbeat for 15 s" in presence.reasons()
