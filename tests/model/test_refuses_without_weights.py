"""A sidecar without the model it was asked for does not start, and says what to do. It never serves
random weights.

The hub's address and its offline switch are read when huggingface_hub is imported, so those cases
run in a process of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import bundled
from sidecar.errors import ServiceFault
from sidecar.model import Model
from sidecar.settings import DEFAULT_MODEL, Settings

LOAD = """
import sys
from sidecar.errors import ServiceFault
from sidecar.model import Model
from sidecar.settings import read_settings
try:
    model = Model.load(read_settings())
except ServiceFault as fault:
    sys.exit(f"refused: {fault}")
model.warm_up()
print("serves", model.name, model.width)
"""


def start(model_id: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    given = {
        "VISION_MODEL_ID": model_id,
        "HF_HOME": str(home),
        "CUDA_VISIBLE_DEVICES": "",
        **kept,
        **environment,
    }
    root = str(Path(bundled.__file__).parents[2])
    given["PYTHONPATH"] = os.pathsep.join([root, given.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", LOAD],
        env=given,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def assert_refused(message: str, *reasons: str) -> None:
    for part in (*reasons, "HF_TOKEN", "local-dir:/path", "VISION_MODEL_ID=bundled"):
        assert part in message
    assert "\n" not in message.strip()


def cache_model(home: Path, name: str, *files: str) -> None:
    """Lays the bundled model into the hub's cache under `name`, as a download would."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = home / "hub" / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    for file in files:
        shutil.copy(bundled.WEIGHTS / file, folder / "snapshots" / commit / file)


@pytest.mark.parametrize(
    "environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}], ids=str
)
def test_a_hub_out_of_reach_names_the_model_and_the_ways_out(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    ended = start(DEFAULT_MODEL, tmp_path, **environment)
    assert ended.returncode == 1, ended.stdout
    refusal = ended.stderr[ended.stderr.index("refused: ") :]
    assert_refused(refusal, DEFAULT_MODEL, "the hub cannot be reached")


def test_a_model_in_the_hubs_cache_is_served_offline(tmp_path: Path) -> None:
    files = ("open_clip_config.json", "open_clip_model.safetensors", "merges.txt.gz")
    cache_model(tmp_path, "some/model", *files)
    ended = start("hf-hub:some/model", tmp_path, HF_HUB_OFFLINE="1")
    assert ended.stdout == "serves hf-hub:some/model 768\n", ended.stderr


def test_a_cached_configuration_without_weights_is_not_served(tmp_path: Path) -> None:
    cache_model(tmp_path, "some/model", "open_clip_config.json", "merges.txt.gz")
    ended = start("hf-hub:some/model", tmp_path, HF_HUB_OFFLINE="1")
    assert ended.returncode == 1, ended.stdout
    refusal = ended.stderr[ended.stderr.index("refused: ") :]
    assert_refused(refusal, "hf-hub:some/model", "weights (open_clip_model.safetensors")


def refusal_of(model_id: str) -> str:
    with pytest.raises(ServiceFault) as caught:
        Model.load(Settings(model_id=model_id))
    return str(caught.value)


def test_a_directory_with_a_configuration_and_no_weights_is_not_served(tmp_path: Path) -> None:
    for file in ("open_clip_config.json", "merges.txt.gz"):
        shutil.copy(bundled.WEIGHTS / file, tmp_path / file)
    assert_refused(
        refusal_of(f"local-dir:{tmp_path}"),
        str(tmp_path),
        "no weights such as open_clip_model.safetensors",
    )


def test_a_directory_that_is_absent_or_empty_is_named(tmp_path: Path) -> None:
    assert_refused(
        refusal_of(f"local-dir:{tmp_path / 'none'}"), f"there is no directory {tmp_path / 'none'}"
    )
    assert_refused(refusal_of(f"local-dir:{tmp_path}"), f"{tmp_path} has no open_clip_config.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model_cfg": {"embed_dim": 768}}'])
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, text: str) -> None:
    shutil.copy(bundled.WEIGHTS / "open_clip_model.safetensors", tmp_path)
    (tmp_path / "open_clip_config.json").write_text(text)
    assert_refused(
        refusal_of(f"local-dir:{tmp_path}"), "open_clip_config.json is no OpenCLIP configuration"
    )


def test_weights_of_another_model_are_not_served(tmp_path: Path) -> None:
    shutil.copytree(bundled.WEIGHTS, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["layers"] = 3
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert_refused(
        refusal_of(f"local-dir:{tmp_path}"), "Missing key(s)", "text.transformer.resblocks.2"
    )


def test_damaged_weights_are_not_served(tmp_path: Path) -> None:
    shutil.copytree(bundled.WEIGHTS, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    assert_refused(refusal_of(f"local-dir:{tmp_path}"), "safetensors")


@pytest.mark.parametrize(
    "name", ["ViT-B-32", "hf-hub:", "local-dir:", "Bundled", "hf-hub:no/such/name"]
)
def test_a_name_of_no_known_kind_is_refused(name: str) -> None:
    assert_refused(refusal_of(name), f"Model {name} cannot be loaded", "ORG/NAME")


def test_a_hub_name_without_its_prefix_is_suggested() -> None:
    assert_refused(refusal_of("timm/some_model"), "did you mean hf-hub:timm/some_model?")
