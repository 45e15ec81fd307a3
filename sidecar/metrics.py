"""Figures for Prometheus, counted in memory; what they cost beyond that is paid when somebody
scrapes.

One process is one sidecar, so these are the process's own. Every stage may count here, and this
imports nothing of ours. Labels have few values: never a key, a text, a path or an address.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

MODALITIES = ("image", "text")
STAGES = ("load", "prepare", "model", "write")
CHANNELS = ("rows", "questions")
OUTCOMES = ("answered", "refused", "busy", "unavailable", "abandoned")
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

without_created: Callable[[], None] = disable_created_metrics
without_created()  # a series more for each counter, which nothing reads
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

INFO = Gauge(
    "sidecar_info",
    "Always 1; its labels say what runs here.",
    ["version", "model", "device"],
    registry=REGISTRY,
)
HEARTBEAT = Gauge(
    "sidecar_last_heartbeat_timestamp_seconds",
    "When the database last had this sidecar's heartbeat, as Unix time.",
    registry=REGISTRY,
)
ROW_FAILURES = Counter(
    "sidecar_row_failures_total",
    "Rows given up on, by error code.",
    ["error"],
    registry=REGISTRY,
)
SERVICE_FAULTS = Counter(
    "sidecar_service_faults_total",
    "Batches that the model could not do through no fault of a row, such as out of memory.",
    registry=REGISTRY,
)
DATABASE_RETRIES = Counter(
    "sidecar_database_retries_total",
    "Calls of the database that failed and were made again.",
    ["what"],
    registry=REGISTRY,
)
LEASES_LOST = Counter(
    "sidecar_leases_lost_total",
    "Rows whose lease had ended by itself, or whose queue entry was gone, before their work was.",
    registry=REGISTRY,
)
BATCH_ITEMS = Histogram(
    "sidecar_batch_items",
    "Rows and questions in one batch of the model.",
    ["modality"],
    buckets=SIZES,
    registry=REGISTRY,
)
STAGE_SECONDS = Histogram(
    "sidecar_stage_duration_seconds",
    "Time of one step of a stage: a slice loaded, a picture or some texts prepared, a batch in the"
    " model, a batch written.",
    ["stage", "modality"],
    buckets=SHORT,
    registry=REGISTRY,
)
REQUESTS = Counter(
    "sidecar_requests_total",
    "Requests for vectors, by the way they came and how they ended.",
    ["via", "outcome"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "sidecar_request_duration_seconds",
    "Time from the asking of a request for vectors to its answer, answered ones alone.",
    ["via"],
    buckets=SHORT,
    registry=REGISTRY,
)
HTTP_RESPONSES = Counter(
    "sidecar_http_responses_total",
    "HTTP responses by route and status code.",
    ["route", "code"],
    registry=REGISTRY,
)
WAITING = Gauge(
    "sidecar_waiting_calls",
    "Texts and pictures asked over HTTP that have no answer yet.",
    registry=REGISTRY,
)
CACHE_LOOKUPS = Counter(
    "sidecar_cache_lookups_total",
    "Texts of requests that SQL sent to a sidecar, by whether their vector was known by then.",
    ["result"],
    registry=REGISTRY,
)
NOTIFICATIONS = Counter(
    "sidecar_notifications_total",
    "Notifications that came from the database.",
    ["channel"],
    registry=REGISTRY,
)
POLLS = Counter(
    "sidecar_polls_total",
    "Times that the database was asked without a notification, because none had come for a while.",
    ["channel"],
    registry=REGISTRY,
)
DATABASE_UP = Gauge(
    "sidecar_database_up",
    "1 where the last scrape reached the database, else 0.",
    registry=REGISTRY,
)
PENDING = Gauge(
    "sidecar_pending_rows",
    "Rows in the queue, of the whole database.",
    ["table", "column"],
    registry=REGISTRY,
)
OLDEST = Gauge(
    "sidecar_oldest_pending_seconds",
    "How long the row has been due that waits the longest, of the whole database; 0: none is due.",
    ["table", "column"],
    registry=REGISTRY,
)
FAILED = Gauge(
    "sidecar_failed_rows",
    "Rows given up on that stay in sidecar.failures, of the whole database.",
    ["table", "column"],
    registry=REGISTRY,
)


class Rows(Collector):
    """Rows by attachment and outcome. Counted by the attachment's number; the database knows the
    names."""

    def __init__(self) -> None:
        self.counts: Counts[tuple[int, str]] = Counts()
        self.names: dict[int, tuple[str, str]] = {}
        """Attachment -> table and column, as far as seen."""

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "sidecar_rows",
            "Rows whose work here ended, by how it did.",
            labels=["table", "column", "outcome"],
        )
        totals: Counts[tuple[str, str, str]] = Counts()
        for (attachment, outcome), count in list(self.counts.items()):
            table, column = self.names.get(attachment, (str(attachment), ""))
            totals[table, column, outcome] += count
        for labels, count in totals.items():
            family.add_metric(labels, count)
        yield family


class Waits(Collector):
    """How long rows had been due when they were claimed. Its own histogram, for it takes many
    thousand values a second: some 0.6 us each, where prometheus_client's takes 2."""

    def __init__(self) -> None:
        self._counts = {modality: [0] * (len(LONG) + 1) for modality in MODALITIES}
        self._sums = dict.fromkeys(MODALITIES, 0.0)

    def observe(self, rows: Iterable[tuple[str, datetime]]) -> None:
        """Modality and time of rows that are claimed now; a clock ahead of ours counts as 0 s."""
        now = datetime.now(UTC)
        for modality, due in rows:
            seconds = max(0.0, (now - due).total_seconds())
            self._counts[modality][bisect_left(LONG, seconds)] += 1
            self._sums[modality] += seconds

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "sidecar_queue_wait_seconds",
            "How long a row had been due when a sidecar claimed it.",
            labels=["modality"],
        )
        for modality in MODALITIES:
            total = 0
            buckets = []
            bounds = [*map(str, LONG), "+Inf"]
            for bound, count in zip(bounds, self._counts[modality], strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric([modality], buckets, self._sums[modality])
        yield family


class DeviceMemory(Collector):
    """Memory of the CUDA device that the model is on; nothing without one."""

    def __init__(self) -> None:
        self.device = "cpu"

    def collect(self) -> Iterator[Metric]:
        if not self.device.startswith("cuda"):
            return
        import torch

        family = GaugeMetricFamily(
            "sidecar_gpu_memory_bytes",
            "Memory of the GPU: held by tensors here, reserved by PyTorch here, in use by all, and"
            " there.",
            labels=["device", "kind"],
        )
        free, total = torch.cuda.mem_get_info(self.device)
        for kind, size in (
            ("tensors", torch.cuda.memory_allocated(self.device)),
            ("reserved", torch.cuda.memory_reserved(self.device)),
            ("used", total - free),
            ("total", total),
        ):
            family.add_metric([self.device, kind], size)
        yield family


ROWS, WAITS, DEVICE_MEMORY = Rows(), Waits(), DeviceMemory()
for collector in (ROWS, WAITS, DEVICE_MEMORY):
    REGISTRY.register(collector)

# Every series is there from the start, so that its first increase is seen as one.
_STAGE = {
    (stage, modality): STAGE_SECONDS.labels(stage, modality)
    for stage in STAGES
    for modality in MODALITIES
}
_BATCH = {modality: BATCH_ITEMS.labels(modality) for modality in MODALITIES}
_REQUESTS = {
    (via, outcome): REQUESTS.labels(via, outcome) for via in ("sql", "http") for outcome in OUTCOMES
}
_REQUEST_SECONDS = {via: REQUEST_SECONDS.labels(via) for via in ("sql", "http")}
_NOTIFICATIONS = {channel: NOTIFICATIONS.labels(channel) for channel in CHANNELS}
_POLLS = {channel: POLLS.labels(channel) for channel in CHANNELS}
CACHE_HITS, CACHE_MISSES = CACHE_LOOKUPS.labels("hit"), CACHE_LOOKUPS.labels("miss")


def describe(version: str, model: str, device: str) -> None:
    """What runs in this process."""
    INFO.clear()
    INFO.labels(version, model, device).set(1)
    DEVICE_MEMORY.device = device


@contextmanager
def timed(stage: str, modality: str) -> Iterator[None]:
    """Counts the time of one step of a stage, also of one that fails."""
    began = time.perf_counter()
    try:
        yield
    finally:
        _STAGE[stage, modality].observe(time.perf_counter() - began)


def count_batch(modality: str, size: int) -> None:
    """One batch goes into the model."""
    _BATCH[modality].observe(size)


def count_rows(attachments: Iterable[int], outcome: str) -> None:
    """Rows, given by their attachments, whose work ended."""
    for attachment in attachments:
        ROWS.counts[attachment, outcome] += 1


def count_request(via: Literal["sql", "http"], outcome: str, seconds: float | None = None) -> None:
    """A request for vectors ended; `seconds` for one that was answered."""
    _REQUESTS[via, outcome].inc()
    if seconds is not None:
        _REQUEST_SECONDS[via].observe(seconds)


def rung(channel: str) -> None:
    """A notification came."""
    _NOTIFICATIONS[channel].inc()


def polled(channel: str) -> None:
    """None came, and the database is asked all the same."""
    _POLLS[channel].inc()
