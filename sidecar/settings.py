"""Environment -> Settings: the only reader of os.environ. All mistakes are reported at once."""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sidecar.errors import SettingsError

DEFAULT_MODEL = "hf-hub:timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k"
BUNDLED_MODEL = "bundled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set from outside; ENVIRONMENT names each field's variable."""

    database_url: str | None = None
    """libpq URL; None: the embedded PostgreSQL is started and used."""
    database_direct_url: str | None = None
    """libpq URL of the same database past a pooler, for LISTEN and index builds; None: the same."""
    model_id: str = DEFAULT_MODEL
    """`hf-hub:ORG/NAME`, `local-dir:/path`, or `bundled` for the small model in the package."""
    vision_size: int | None = None
    """Pixels, square; None: the model's own. Another size resamples the position embeddings."""
    precision: str | None = None
    """fp16, bf16, fp32; None: fp16 on CUDA, else fp32. Lower is faster; vectors move by 1.5e-4."""
    backend: str = "torch"
    """torch, or onnx: the towers that `sidecar export` wrote, run by ONNX Runtime on the CPU."""
    matmul_precision: str = "high"
    """Of fp32 products, in torch's words: highest, high or medium; `high` lets them use TF32."""
    enable_tta: bool = False
    """Five crops of each picture, tiles of a panorama; their vectors are pooled."""
    tta_crop_size: int | None = None
    """Side of a crop, pixels of a picture whose short side is the model's; None: 7/8 of that."""
    tta_scales: tuple[float, ...] = (1.0,)
    """How many times as large the picture is looked at; five crops each."""
    panorama_max_ratio: float = 2.6
    """Sides' ratio above which a picture is cut into overlapping tiles, with ENABLE_TTA=1."""
    text_templates: tuple[str, ...] = ()
    """Each with one %s for the text; their vectors are pooled."""
    cuda_device: str | None = None
    """`0`, `cuda:1` or `cpu`; None: the first CUDA device, or the CPU without one."""
    hf_token: str | None = None
    """Token for gated or rate-limited downloads from the hub; None: anonymous."""
    batch_size: int = 64
    """Most images in one batch; more fills a large GPU better and takes more of its memory."""
    text_batch_size: int = 512
    """Most texts in one model batch."""
    lease_seconds: float = 60.0
    """Length of a lease, s. A crashed sidecar's rows are claimable again after this long."""
    max_attempts: int = 5
    """Tries before a row becomes a failure; after as many crashes it is tried once more, alone."""
    sweep_seconds: float = 3600.0
    """Between two searches for rows that no trigger saw, s; less finds them sooner, reads more."""
    statement_seconds: float = 60.0
    """Longest wait for the answer to a statement, s; then the connection counts as lost."""
    max_image_bytes: int = 64 * 1024 * 1024
    """Largest encoded image, bytes; larger ones fail with image_too_large without being read."""
    max_image_pixels: int = 178_956_970
    """Largest image, pixels; larger ones fail with image_too_large. Pillow's own limit, doubled."""
    isolate: str = "others"
    """`all`: every picture is decoded in a process of its own; `others`: plain JPEGs on threads."""
    decoder_bytes: int = 4 * 1024 * 1024 * 1024
    """Most address space of a decoding process, bytes; a picture that needs more is too large."""
    file_roots: tuple[str, ...] | None = None
    """Directories under which source => 'file' may read; None: no file is read."""
    url_allow: frozenset[str] | None = None
    """Hosts, or host:port, that URLs may lead to although their addresses are not public."""
    url_headers: Mapping[str, Mapping[str, str]] | None = None
    """Origin such as https://img.example -> headers that only it is sent. Secret."""
    fetch_seconds: float = 30.0
    """Longest that a content is fetched, s, with all redirects; then the row is tried again."""
    fetches_per_host: int = 8
    """Most requests to one host at a time; more is faster where the host can bear it."""
    fetch_bytes: int = 256 * 1024 * 1024
    """Most bytes of fetched contents in memory; where it is full, fetching waits."""
    http: str | None = None
    """`host:port` where HTTP is answered, or `off`; None: 127.0.0.1:9000 where that is free."""
    token: str | None = None
    """What HTTP clients must show (bearer); None: nothing, which only a loopback address allows."""
    http_timeout: float = 30.0
    """Longest time of an HTTP request, s, from its first byte to its answer; then it fails."""
    http_queue: int = 1024
    """Most texts and pictures asked over HTTP that wait at a time; more are sent away (429)."""
    http_texts: int = 256
    """Most texts in one HTTP request."""
    batch_window_ms: float = 10.0
    """Rows wait this long, ms, after an answer for the next question; 0: they never do."""
    log_format: str | None = None
    """`human` or `json`; None: human on a terminal, JSON elsewhere."""
    log_level: str = "info"
    """debug, info, warning or error."""


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        value = text.strip().lower()
        if value not in allowed:
            near = difflib.get_close_matches(value, allowed, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"must be one of {', '.join(allowed)}{hint}")
        return value

    return parse


def _number(
    kind: Callable[[str], Any], least: float, most: float = math.inf
) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"must be a number, at least {least:g}") from None
        if not math.isfinite(value) or value < least:
            raise ValueError(f"must be at least {least:g}")
        if value > most:
            raise ValueError(f"must be at most {most:g}")
        return value

    return parse


def _switch(text: str) -> bool:
    value = text.strip().lower()
    if value not in ("0", "1", "false", "true", "no", "yes", "off", "on"):
        raise ValueError("must be 1 or 0")
    return value in ("1", "true", "yes", "on")


def _scales(text: str) -> tuple[float, ...]:
    parse = _number(float, 0.1)
    try:
        scales = tuple(parse(part) for part in text.split(","))
    except ValueError:
        raise ValueError("must be numbers, at least 0.1, such as 1,1.25") from None
    return tuple(dict.fromkeys(scales))


def _templates(text: str) -> tuple[str, ...]:
    templates = tuple(part.strip() for part in text.split("|"))
    if any(template.count("%s") != 1 for template in templates):
        raise ValueError("must be prompts with one %s each, separated by |")
    return templates


def _device(text: str) -> str:
    value = text.strip().lower()
    name = f"cuda:{value}" if value.isdecimal() else value
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", name):
        raise ValueError("must be a device number such as 0, or cuda:0, or cpu")
    return name


def _roots(text: str) -> tuple[str, ...]:
    roots = tuple(root for root in text.split(os.pathsep) if root.strip())
    for root in roots:
        if not os.path.isabs(root):
            raise ValueError(f"{root} is no absolute path; separate several with {os.pathsep}")
    return roots


def _hosts(text: str) -> frozenset[str]:
    hosts = [host.strip().lower() for host in text.split(",") if host.strip()]
    for host in hosts:
        if re.search(r"[/@\s\\*]", host):
            raise ValueError(f"{host} is no host: separate names, or name:port, with commas")
    return frozenset(hosts)


def _headers(text: str) -> Mapping[str, Mapping[str, str]]:
    example = '{"https://img.example": {"Authorization": "Bearer ..."}}'
    try:
        origins = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"must be JSON such as {example}") from error
    if not isinstance(origins, dict):
        raise ValueError(f"must be JSON such as {example}")
    for origin, headers in origins.items():
        if not re.fullmatch(r"https?://[^/@\s?#]+", origin) or origin != origin.lower():
            raise ValueError("its keys must be origins in lower case such as https://img.example")
        if not isinstance(headers, dict) or not all(map(_is_header, headers.items())):
            raise ValueError(f"{origin} must have headers such as {example}")
    return origins


def _is_header(header: tuple[str, Any]) -> bool:
    name, value = header
    fixed = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}
    return (
        isinstance(value, str)
        and re.fullmatch(r"[!-~]([ -~]*[!-~])?", value) is not None
        and re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) is not None
        and name.lower() not in fixed
    )


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[IPv6]:port`. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or (":" in bare) != host.startswith("["):
        raise ValueError("must be host:port, as in 127.0.0.1:9000 or [::1]:9000, or off")
    if not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must end with a port from 0 to 65535 (0: any that is free)")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _address(text: str) -> str:
    value = text.strip()
    if value.lower() == "off":
        return "off"
    split_address(value)
    return value


def _token(text: str) -> str:
    value = text.strip()
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{16,}=*", value):
        raise ValueError("must be 16 characters or more out of A-Z a-z 0-9 - . _ ~ + / (then =)")
    return value


def _url(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError(
            "must start with postgresql://, as in postgresql://user:password@host:5432/database"
        )
    return text


ENVIRONMENT: dict[str, tuple[str, Callable[[str], Any]]] = {
    "DATABASE_URL": ("database_url", _url),
    "DATABASE_DIRECT_URL": ("database_direct_url", _url),
    "VISION_MODEL_ID": ("model_id", str.strip),
    "VISION_SIZE": ("vision_size", _number(int, 16)),
    "MODEL_PRECISION": ("precision", _choice("fp16", "bf16", "fp32")),
    "MODEL_BACKEND": ("backend", _choice("torch", "onnx")),
    "MATMUL_PRECISION": ("matmul_precision", _choice("highest", "high", "medium")),
    "ENABLE_TTA": ("enable_tta", _switch),
    "TTA_CROP_SIZE": ("tta_crop_size", _number(int, 8)),
    "TTA_SCALES": ("tta_scales", _scales),
    "PANORAMA_MAX_RATIO": ("panorama_max_ratio", _number(float, 1)),
    "TEXT_TEMPLATES": ("text_templates", _templates),
    "CUDA_DEVICE": ("cuda_device", _device),
    "HF_TOKEN": ("hf_token", str.strip),
    "SIDECAR_BATCH_SIZE": ("batch_size", _number(int, 1)),
    "SIDECAR_TEXT_BATCH_SIZE": ("text_batch_size", _number(int, 1)),
    "SIDECAR_LEASE_SECONDS": ("lease_seconds", _number(float, 1)),
    "SIDECAR_MAX_ATTEMPTS": ("max_attempts", _number(int, 1)),
    "SIDECAR_SWEEP_SECONDS": ("sweep_seconds", _number(float, 1)),
    "SIDECAR_STATEMENT_SECONDS": ("statement_seconds", _number(float, 1)),
    "SIDECAR_MAX_IMAGE_BYTES": ("max_image_bytes", _number(int, 1)),
    "SIDECAR_MAX_IMAGE_PIXELS": ("max_image_pixels", _number(int, 1)),
    "SIDECAR_ISOLATE": ("isolate", _choice("all", "others")),
    "SIDECAR_DECODER_BYTES": ("decoder_bytes", _number(int, 512 * 1024 * 1024)),
    "SIDECAR_FILE_ROOTS": ("file_roots", _roots),
    "SIDECAR_URL_ALLOW": ("url_allow", _hosts),
    "SIDECAR_URL_HEADERS": ("url_headers", _headers),
    "SIDECAR_FETCH_SECONDS": ("fetch_seconds", _number(float, 1)),
    "SIDECAR_FETCHES_PER_HOST": ("fetches_per_host", _number(int, 1)),
    "SIDECAR_FETCH_BYTES": ("fetch_bytes", _number(int, 1)),
    "SIDECAR_HTTP": ("http", _address),
    "SIDECAR_TOKEN": ("token", _token),
    "SIDECAR_HTTP_TIMEOUT": ("http_timeout", _number(float, 1)),
    "SIDECAR_HTTP_QUEUE": ("http_queue", _number(int, 1)),
    "SIDECAR_HTTP_TEXTS": ("http_texts", _number(int, 1)),
    "BATCH_WINDOW_MS": ("batch_window_ms", _number(float, 0, 20)),
    "SIDECAR_LOG_FORMAT": ("log_format", _choice("human", "json")),
    "SIDECAR_LOG_LEVEL": ("log_level", _choice("debug", "info", "warning", "error")),
}

SECRETS = (
    "DATABASE_URL",
    "DATABASE_DIRECT_URL",
    "HF_TOKEN",
    "SIDECAR_TOKEN",
    "SIDECAR_URL_HEADERS",
)
"""Never shown in a message."""


def _unguarded(settings: Settings) -> list[str]:
    if settings.http is None or settings.http == "off" or settings.token:
        return []
    if is_loopback(split_address(settings.http)[0]):
        return []
    return [
        f"SIDECAR_HTTP={settings.http}: other machines reach this address, so it needs"
        " SIDECAR_TOKEN; python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
    ]


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment (os.environ by default); an empty value counts as not set.

    Raises SettingsError that names every mistake, unknown SIDECAR_ names included.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for name, (field, parse) in ENVIRONMENT.items():
        text = environment.get(name, "")
        if not text.strip():
            continue
        try:
            values[field] = parse(text)
        except ValueError as mistake:
            shown = "" if name in SECRETS else f"={text}"
            mistakes.append(f"{name}{shown}: {mistake}")
    for name in environment:
        if name.startswith("SIDECAR_") and name not in ENVIRONMENT:
            near = difflib.get_close_matches(name, ENVIRONMENT, n=1)
            mistakes.append(
                f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else "")
            )
    if not any(mistake.startswith(("SIDECAR_HTTP", "SIDECAR_TOKEN")) for mistake in mistakes):
        mistakes += _unguarded(Settings(**values))
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    return Settings(**values)


assert {field for field, _ in ENVIRONMENT.values()} == {field.name for field in fields(Settings)}
