"""`sidecar export`, and the model that ONNX Runtime then runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sidecar.bundled.drawings import draw
from sidecar.errors import ServiceFault
from sidecar.model import Model
from sidecar.settings import Settings
from tests.cli.terminal import sidecar


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's data directory with the bundled model exported."""
    home = tmp_path_factory.mktemp("home")
    done = sidecar("export", VISION_MODEL_ID="bundled", XDG_DATA_HOME=str(home))
    assert done.returncode == 0, done.stderr
    cosines = [float(found) for found in re.findall(r"torch ([\d.]+)$", done.stdout, re.M)]
    assert len(cosines) == 2
    assert min(cosines) > 0.9999
    assert "MODEL_BACKEND=onnx" in done.stdout
    assert "Warning" not in done.stderr
    return home


@pytest.fixture
def onnx(home: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    return Model.load(Settings(model_id="bundled", backend="onnx"))


def test_vectors_are_those_of_torch_and_so_is_the_name(onnx: Model) -> None:
    torch = Model.load(Settings(model_id="bundled"))
    onnx.warm_up()
    assert (onnx.name, onnx.width, onnx.context, onnx.size) == (
        torch.name,
        torch.width,
        torch.context,
        torch.size,
    )
    pictures = [torch.transform(draw(seed)[0]) for seed in range(7)]
    texts = [torch.tokenise(text)[0] for text in ("a red circle", "", "x " * 100)]
    np.testing.assert_allclose(
        onnx.encode("image", pictures), torch.encode("image", pictures), atol=1e-5
    )
    np.testing.assert_allclose(onnx.encode("text", texts), torch.encode("text", texts), atol=1e-5)


def test_an_interrupted_export_leaves_nothing_behind(home: Path) -> None:
    assert [path.name[:8] for path in (home / "sidecar" / "exports").iterdir()] == ["bundled-"]


@pytest.mark.parametrize("setting", [{"precision": "bf16"}, {"cuda_device": "cuda:0"}])
def test_what_it_cannot_do_is_said(onnx: Model, setting: dict[str, str]) -> None:
    with pytest.raises(ServiceFault, match="MODEL_BACKEND=torch"):
        Model.load(Settings(model_id="bundled", backend="onnx", **setting))  # type: ignore[arg-type]


def test_without_an_export_the_error_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(ServiceFault, match="`sidecar export`"):
        Model.load(Settings(model_id="bundled", backend="onnx"))
