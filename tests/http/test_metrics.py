"""What is counted, under names that Prometheus' own checker accepts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sidecar import metrics
from sidecar.backlog import Backlog
from sidecar.database import create_pool
from tests.fix_http import Client, StartHttp, png
from tests.fix_live import wait_until_quiet
from tests.fix_postgres import Connect
from tests.http.test_questions import until

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(client: Client) -> Figures:
    """Every sample by its name and labels."""
    reply = client.get("/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def figure(figures: Figures, name: str, **labels: str) -> float:
    return figures.get((name, frozenset(labels.items())), 0.0)


class Since:
    """What grew between two scrapes: all sidecars of one process count together."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._before = scrape(client)

    def __call__(self, name: str, **labels: str) -> float:
        now = scrape(self._client)
        return figure(now, name, **labels) - figure(self._before, name, **labels)


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scrape reads the database anew."""
    monkeypatch.setattr("sidecar.backlog.FRESH", 0.0)
    monkeypatch.setattr("sidecar.backlog.SHARE", 0)


def test_rows_are_counted_by_table_and_outcome(http_sidecar: StartHttp, connect: Connect) -> None:
    connection = connect()
    connection.execute("create table shop (id int primary key, photo bytea, title text)")
    connection.execute("select sidecar.attach('shop', 'photo'), sidecar.attach('shop', 'title')")
    client = http_sidecar().client
    since = Since(client)
    connection.execute(
        "insert into shop select n, case when n = 1 then 'x'::bytea else %s end, 'title ' || n"
        " from generate_series(1, 5) n",
        [png()],
    )
    wait_until_quiet(connection)
    until(
        lambda: (
            since("sidecar_rows_total", table="public.shop", column="title", outcome="embedded")
            == 5
        )
    )
    photo = {"table": "public.shop", "column": "photo"}
    until(lambda: since("sidecar_rows_total", **photo, outcome="embedded") == 4)
    until(lambda: since("sidecar_rows_total", **photo, outcome="failed") == 1)
    assert since("sidecar_row_failures_total", error="not_an_image") == 1
    now = scrape(client)
    assert figure(now, "sidecar_failed_rows", **photo) == 1
    assert figure(now, "sidecar_pending_rows", **photo) == 0
    assert figure(now, "sidecar_database_up") == 1
    for stage in ("load", "prepare", "model", "write"):
        for modality in ("image", "text"):
            name = "sidecar_stage_duration_seconds_count"
            assert since(name, stage=stage, modality=modality) > 0, (stage, modality)
    # Both columns are written in the same rows: who meets the other's lock comes back.
    again = since("sidecar_rows_total", **photo, outcome="returned")
    assert since("sidecar_queue_wait_seconds_count", modality="image") == 5 + again
    again = since("sidecar_rows_total", table="public.shop", column="title", outcome="returned")
    assert since("sidecar_queue_wait_seconds_count", modality="text") == 5 + again
    assert since("sidecar_batch_items_sum", modality="text") == 5 + again

    def change_rings() -> bool:  # once the sidecar sleeps
        connection.execute("update shop set title = title || '!' where id = 2")
        return since("sidecar_notifications_total", channel="rows") > 0

    until(change_rings)


def test_what_waits_is_counted_by_age(http_sidecar: StartHttp, connect: Connect) -> None:
    connection = connect()
    connection.execute("create table shop (id int primary key, title text)")
    connection.execute("select sidecar.attach('shop', 'title')")
    client = http_sidecar().client
    connection.execute("select sidecar.pause('shop', 'title')")
    connection.execute("insert into shop select n, 'x' from generate_series(1, 7) n")
    connection.execute("update sidecar.pending set due_at = clock_timestamp() + interval '1 h'")
    now = scrape(client)
    assert figure(now, "sidecar_pending_rows", table="public.shop", column="title") == 7
    assert figure(now, "sidecar_oldest_pending_seconds", table="public.shop", column="title") == 0
    connection.execute("update sidecar.pending set due_at = clock_timestamp() - interval '1 h'")
    oldest = figure(
        scrape(client), "sidecar_oldest_pending_seconds", table="public.shop", column="title"
    )
    assert 3600 <= oldest < 3700


def test_requests_are_counted_by_the_way_they_came(
    http_sidecar: StartHttp, connect: Connect
) -> None:
    sidecar = http_sidecar(http_queue=2)
    client, connection = sidecar.client, connect()
    since = Since(client)
    client.text("a cat")
    client.text(" ")
    client.texts("a", "b", "c")
    connection.execute("select sidecar.embed_text('a dog')")
    # In the cache by now, so that SQL answers it without asking; only a mixed batch is asked.
    connection.execute("select sidecar.embed_text(array['a dog', 'a bird'])")
    with pytest.raises(psycopg.Error):
        connection.execute("select sidecar.embed_text(' ')")
    counts = {
        (via, outcome): since("sidecar_requests_total", via=via, outcome=outcome)
        for via in ("sql", "http")
        for outcome in ("answered", "refused", "busy", "unavailable", "abandoned")
    }
    assert {key: count for key, count in counts.items() if count} == {
        ("sql", "answered"): 2,
        ("sql", "refused"): 1,
        ("http", "answered"): 1,
        ("http", "refused"): 2,
    }
    assert since("sidecar_request_duration_seconds_count", via="sql") == 2
    assert since("sidecar_request_duration_seconds_count", via="http") == 1
    assert since("sidecar_cache_lookups_total", result="hit") == 1
    assert since("sidecar_cache_lookups_total", result="miss") == 3
    assert since("sidecar_http_responses_total", route="/embed/text", code="200") == 1
    assert since("sidecar_notifications_total", channel="questions") > 0


def test_a_lease_that_another_took_is_counted_as_lost(
    http_sidecar: StartHttp, connect: Connect
) -> None:
    connection = connect()
    connection.execute("create table shop (id int primary key, title text)")
    connection.execute("select sidecar.attach('shop', 'title')")
    sidecar = http_sidecar()
    since = Since(sidecar.client)
    sidecar.gates.hold("before_write")
    connection.execute("insert into shop values (1, 'x')")
    sidecar.gates.wait("before_write")
    connection.execute("update sidecar.pending set lease_token = nextval('sidecar.lease_token')")
    sidecar.gates.let_go("before_write")
    until(lambda: since("sidecar_leases_lost_total") == 1)


def test_nothing_that_a_client_makes_up_becomes_a_label(http_sidecar: StartHttp) -> None:
    client = http_sidecar().client
    since = Since(client)
    for path in ("/secret", "/embed/secret", "/embed/text?q=secret", "/%73ecret"):
        client.get(path)
    assert since("sidecar_http_responses_total", route="none", code="404") == 3
    assert "secret" not in client.get("/metrics").text


async def test_a_database_that_is_away_leaves_no_old_figures(database: str) -> None:
    pool = await create_pool(database, 1)
    backlog = Backlog()
    await backlog.refresh(pool)
    metrics.PENDING.labels("gone", "column").set(1)
    pool.terminate()
    await backlog.refresh(pool)
    assert 'sidecar_pending_rows{column="column"' not in generate_latest(metrics.REGISTRY).decode()
    assert metrics.REGISTRY.get_sample_value("sidecar_database_up") == 0


async def test_figures_are_not_asked_for_again_at_once(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.backlog.FRESH", 3600.0)
    pool = await create_pool(database, 1)
    backlog = Backlog()
    await backlog.refresh(pool)
    pool.terminate()
    await backlog.refresh(pool)
    assert metrics.REGISTRY.get_sample_value("sidecar_database_up") == 1


def test_promtool_accepts_the_names(
    promtool: Path, http_sidecar: StartHttp, connect: Connect
) -> None:
    connection = connect()
    connection.execute("create table shop (id int primary key, title text)")
    connection.execute("select sidecar.attach('shop', 'title')")
    client = http_sidecar().client
    connection.execute("insert into shop values (1, 'x'), (2, ' ')")
    wait_until_quiet(connection)
    client.text("a cat")
    page = client.get("/metrics").text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), page


def test_the_manual_names_every_figure_and_no_other() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(sidecar_\w+)", manual, flags=re.M))
    assert named == set(exported())


def exported() -> Iterator[str]:
    """Names as a query has them, of what shows on any machine."""
    for family in metrics.REGISTRY.collect():
        if family.name.startswith("sidecar"):
            yield f"{family.name}_total" if family.type == "counter" else family.name
    yield "sidecar_gpu_memory_bytes"
