"""Environment -> Settings: defaults, every mistake at once, and no secret in a message."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from sidecar.errors import SettingsError
from sidecar.settings import DEFAULT_MODEL, ENVIRONMENT, Settings, read_settings


def mistakes(**environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings(environment)
    return str(caught.value)


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings({}) == Settings()
    assert Settings().model_id == DEFAULT_MODEL
    assert Settings().precision is None


def test_every_field_has_one_environment_variable() -> None:
    assert sorted(field for field, _ in ENVIRONMENT.values()) == sorted(
        field.name for field in fields(Settings)
    )


def test_every_variable_reaches_its_field() -> None:
    given = {
        "DATABASE_URL": "postgresql://me@db/shop",
        "DATABASE_DIRECT_URL": "postgresql://me@direct/shop",
        "VISION_MODEL_ID": " bundled ",
        "VISION_SIZE": "448",
        "MODEL_PRECISION": "BF16",
        "MODEL_BACKEND": "onnx",
        "MATMUL_PRECISION": "highest",
        "ENABLE_TTA": "1",
        "TTA_CROP_SIZE": "300",
        "TTA_SCALES": "1, 1.5",
        "PANORAMA_MAX_RATIO": "3",
        "TEXT_TEMPLATES": "a photo of %s | %s",
        "CUDA_DEVICE": "1",
        "HF_TOKEN": "hf_abc ",
        "SIDECAR_BATCH_SIZE": "8",
        "SIDECAR_TEXT_BATCH_SIZE": "16",
        "SIDECAR_LEASE_SECONDS": "1.5",
        "SIDECAR_MAX_ATTEMPTS": "3",
        "SIDECAR_SWEEP_SECONDS": "60",
        "SIDECAR_STATEMENT_SECONDS": "5",
        "SIDECAR_MAX_IMAGE_BYTES": "1000",
        "SIDECAR_MAX_IMAGE_PIXELS": "2000",
        "SIDECAR_ISOLATE": "ALL",
        "SIDECAR_DECODER_BYTES": "1000000000",
        "SIDECAR_FILE_ROOTS": "/srv/pictures:/mnt/more",
        "SIDECAR_URL_ALLOW": "Img.Example, 10.0.0.1:8080,[::1]",
        "SIDECAR_URL_HEADERS": '{"https://img.example": {"Authorization": "Bearer a b"}}',
        "SIDECAR_FETCH_SECONDS": "5",
        "SIDECAR_FETCHES_PER_HOST": "2",
        "SIDECAR_FETCH_BYTES": "3000",
        "SIDECAR_HTTP": "[::1]:9001",
        "SIDECAR_TOKEN": "sixteen-letters-",
        "SIDECAR_HTTP_TIMEOUT": "5",
        "SIDECAR_HTTP_QUEUE": "10",
        "SIDECAR_HTTP_TEXTS": "4",
        "BATCH_WINDOW_MS": "2.5",
        "SIDECAR_LOG_FORMAT": "json",
        "SIDECAR_LOG_LEVEL": "Debug",
    }
    assert set(given) == set(ENVIRONMENT)
    assert read_settings(given) == Settings(
        database_url="postgresql://me@db/shop",
        database_direct_url="postgresql://me@direct/shop",
        model_id="bundled",
        vision_size=448,
        precision="bf16",
        backend="onnx",
        matmul_precision="highest",
        enable_tta=True,
        tta_crop_size=300,
        tta_scales=(1.0, 1.5),
        panorama_max_ratio=3.0,
        text_templates=("a photo of %s", "%s"),
        cuda_device="cuda:1",
        hf_token="hf_abc",
        batch_size=8,
        text_batch_size=16,
        lease_seconds=1.5,
        sweep_seconds=60.0,
        max_attempts=3,
        statement_seconds=5.0,
        max_image_bytes=1000,
        max_image_pixels=2000,
        isolate="all",
        decoder_bytes=1000000000,
        file_roots=("/srv/pictures", "/mnt/more"),
        url_allow=frozenset(["img.example", "10.0.0.1:8080", "[::1]"]),
        url_headers={"https://img.example": {"Authorization": "Bearer a b"}},
        fetch_seconds=5.0,
        fetches_per_host=2,
        fetch_bytes=3000,
        http="[::1]:9001",
        token="sixteen-letters-",
        http_timeout=5.0,
        http_queue=10,
        http_texts=4,
        batch_window_ms=2.5,
        log_format="json",
        log_level="debug",
    )


@pytest.mark.parametrize("value", ["", "  ", "\t"])
def test_an_empty_value_counts_as_not_set(value: str) -> None:
    assert read_settings(dict.fromkeys(ENVIRONMENT, value)) == Settings()


def test_all_mistakes_are_reported_at_once() -> None:
    message = mistakes(VISION_SIZE="big", MODEL_PRECISION="int8", SIDECAR_BATCH_SIZE="0")
    assert "VISION_SIZE=big: must be a number, at least 16" in message
    assert "MODEL_PRECISION=int8: must be one of fp16, bf16, fp32" in message
    assert "SIDECAR_BATCH_SIZE=0: must be at least 1" in message
    assert "\n" not in message


def test_a_near_miss_is_suggested() -> None:
    assert "did you mean fp16?" in mistakes(MODEL_PRECISION="fp61")
    assert "SIDECAR_BATCHSIZE: no such setting; did you mean SIDECAR_BATCH_SIZE?" in mistakes(
        SIDECAR_BATCHSIZE="8"
    )


def test_other_programs_variables_are_left_alone() -> None:
    assert (
        read_settings({"PATH": "/bin", "PGHOST": "db", "CUDA_VISIBLE_DEVICES": "0"}) == Settings()
    )


@pytest.mark.parametrize(
    ("given", "device"), [("0", "cuda:0"), ("cuda:2", "cuda:2"), ("cuda", "cuda"), ("CPU", "cpu")]
)
def test_a_device_is_a_number_or_a_name(given: str, device: str) -> None:
    assert read_settings({"CUDA_DEVICE": given}).cuda_device == device


@pytest.mark.parametrize("given", ["gpu", "cuda:", "cuda:x", "mps", "-1"])
def test_other_devices_are_mistakes(given: str) -> None:
    assert "must be a device number such as 0, or cuda:0, or cpu" in mistakes(CUDA_DEVICE=given)


def test_no_message_shows_a_password() -> None:
    message = mistakes(DATABASE_URL="mysql://me:secret@db/shop", VISION_SIZE="1")
    assert "secret" not in message
    assert "DATABASE_URL: must start with postgresql://" in message


@pytest.mark.parametrize("given", ["9000", ":9000", "host", "::1:9000", "h:70000", "h:-1", "h:²"])
def test_an_address_is_a_host_and_a_port(given: str) -> None:
    assert f"SIDECAR_HTTP={given}: must " in mistakes(SIDECAR_HTTP=given)


@pytest.mark.parametrize("given", ["0.0.0.0:9000", "[::]:9000", "192.0.2.1:80", "example.org:80"])
def test_an_address_that_others_reach_needs_a_token(given: str) -> None:
    assert "needs SIDECAR_TOKEN" in mistakes(SIDECAR_HTTP=given, VISION_SIZE="1")
    read_settings({"SIDECAR_HTTP": given, "SIDECAR_TOKEN": "0123456789abcdef"})


@pytest.mark.parametrize(
    "given", ["127.0.0.1:0", "127.1.2.3:9000", "[::1]:9000", "LocalHost:1", "OFF"]
)
def test_a_loopback_address_needs_none(given: str) -> None:
    read_settings({"SIDECAR_HTTP": given})


def test_a_weak_token_is_a_mistake_that_does_not_show_it() -> None:
    message = mistakes(SIDECAR_TOKEN="short secret", SIDECAR_HTTP="0.0.0.0:1")
    assert "SIDECAR_TOKEN: must be 16 characters" in message
    assert "secret" not in message


def test_the_window_has_a_most() -> None:
    assert "BATCH_WINDOW_MS=21: must be at most 20" in mistakes(BATCH_WINDOW_MS="21")


@pytest.mark.parametrize("given", ["nan", "inf", "1e999"])
def test_a_lease_must_be_a_finite_number(given: str) -> None:
    assert "SIDECAR_LEASE_SECONDS" in mistakes(SIDECAR_LEASE_SECONDS=given)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().model_id = "bundled"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SIDECAR_FILE_ROOTS", "pictures:/srv", "pictures is no absolute path"),
        ("SIDECAR_URL_ALLOW", "https://img.example", "is no host"),
        ("SIDECAR_URL_ALLOW", "*.example", "is no host"),
        ("SIDECAR_URL_HEADERS", "Bearer secret", "must be JSON such as"),
        ("SIDECAR_URL_HEADERS", '["secret"]', "must be JSON such as"),
        ("SIDECAR_URL_HEADERS", '{"img.example": {"A": "secret"}}', "must be origins"),
        ("SIDECAR_URL_HEADERS", '{"https://img.example/x": {"A": "secret"}}', "must be origins"),
        ("SIDECAR_URL_HEADERS", '{"https://a@img.example": {"A": "secret"}}', "must be origins"),
        ("SIDECAR_URL_HEADERS", '{"https://img.example": "secret"}', "must have headers"),
        ("SIDECAR_URL_HEADERS", '{"https://img.example": {"Host": "secret"}}', "must have headers"),
        ("SIDECAR_URL_HEADERS", '{"https://img.example": {"A:": "secret"}}', "must have headers"),
        (
            "SIDECAR_URL_HEADERS",
            '{"https://i.example": {"A": "secret\\nB: c"}}',
            "must have headers",
        ),
    ],
)
def test_what_a_url_may_lead_to_is_read_strictly(name: str, value: str, words: str) -> None:
    message = mistakes(**{name: value})
    assert words in message
    assert "secret" not in message
