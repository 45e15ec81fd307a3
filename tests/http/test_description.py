"""The OpenAPI document is true: what is made up from it gets answers that it describes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.checkout import SCRIPTS
from tests.fix_http import StartHttp

TOKEN = "a-token-of-more-than-16"


def test_the_page_loads_nothing_and_runs_nothing(http_sidecar: StartHttp) -> None:
    reply = http_sidecar().client.get("/docs")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha")
    assert "<script" not in reply.text
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", reply.text) == ["openapi.json"]
    for path in ("/embed/text", "/embed/text/batch", "/embed/image", "/readyz", "/metrics"):
        assert f"{path}</code></h2>" in reply.text
    assert "-F file=@picture.jpg" in reply.text


def test_the_document_asks_for_the_token_where_one_is_needed(http_sidecar: StartHttp) -> None:
    paths = http_sidecar(token=TOKEN).client.get("/openapi.json").body["paths"]
    asks = {path: "security" in next(iter(methods.values())) for path, methods in paths.items()}
    assert asks == {
        "/healthz": False,
        "/readyz": False,
        "/embed/text": True,
        "/embed/text/batch": True,
        "/embed/image": True,
        "/metrics": True,
    }


def test_schemathesis_finds_nothing_that_is_not_described(
    http_sidecar: StartHttp, tmp_path: Path
) -> None:
    sidecar = http_sidecar(token=TOKEN)
    # What it makes up for a picture is valid by the schema, and no picture.
    (tmp_path / "schemathesis.toml").write_text(
        '[[operations]]\ninclude-path = "/embed/image"\n'
        "checks.positive_data_acceptance.enabled = false\n"
    )
    done = subprocess.run(
        [
            SCRIPTS / "schemathesis",
            "run",
            f"http://127.0.0.1:{sidecar.port}/openapi.json",
            f"--header=Authorization: Bearer {TOKEN}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=5",
            "--seed=1",
            "--no-color",
            "--generation-database=none",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert sidecar.encoder.asked > 10
