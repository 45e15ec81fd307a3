"""A model's name -> its files on this machine -> OpenCLIP's network. Refuses to go on without
weights.

With the configuration there and the weights absent, OpenCLIP only logs a warning and serves random
weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode

from sidecar import bundled
from sidecar.errors import ServiceFault
from sidecar.settings import BUNDLED_MODEL, DEFAULT_MODEL

CONFIG_FILE = "open_clip_config.json"
HUB_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Names that OpenCLIP gives its weights on the hub, in the order in which it prefers them."""
WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pth")

WAYS_OUT = (
    "Set HF_TOKEN to download it from the hub, or VISION_MODEL_ID=local-dir:/path to a directory "
    f"with {CONFIG_FILE} and {HUB_WEIGHTS[0]}, or VISION_MODEL_ID=bundled for the demonstration "
    "model"
)


def refusal(model_id: str, reason: str) -> ServiceFault:
    """The error of a model that cannot be served: its name, why, and the ways out, on one line."""
    line = " ".join(reason.split()).rstrip(".")
    return ServiceFault(f"Model {model_id} cannot be loaded: {line}. {WAYS_OUT}.")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory with configuration and weights; `towers` is the configuration's `model_cfg`."""

    model_id: str
    directory: Path
    towers: dict[str, Any]

    @property
    def is_bundled(self) -> bool:
        """Whether this is the package's small model, or one trained by its script."""
        return str(self.towers["vision_cfg"].get("timm_model_name", "")).startswith("sidecar_")


def find_checkpoint(model_id: str, token: str | None = None) -> Checkpoint:
    """The files of `hf-hub:ORG/NAME` (downloaded if need be, with `token`), `local-dir:/path` or
    `bundled`.

    Raises ServiceFault where the name is unknown, or configuration or weights are missing.
    """
    kind, _, rest = model_id.partition(":")
    if model_id == BUNDLED_MODEL:
        directory = bundled.WEIGHTS
    elif kind == "local-dir" and rest:
        directory = Path(rest).expanduser()
        if not directory.is_dir():
            raise refusal(model_id, f"there is no directory {directory}")
    elif kind == "hf-hub" and rest:
        directory = _download(model_id, rest, token)
    else:
        near = (
            f"; did you mean hf-hub:{model_id}?"
            if "/" in model_id
            else f", such as {DEFAULT_MODEL}"
        )
        known = f"it must be hf-hub:ORG/NAME, local-dir:/path or {BUNDLED_MODEL}"
        raise refusal(model_id, f"no such kind of model: {known}{near}")
    if not (directory / CONFIG_FILE).is_file():
        raise refusal(model_id, f"{directory} has no {CONFIG_FILE}")
    if not any(file.suffix in WEIGHTS_SUFFIXES for file in directory.iterdir()):
        raise refusal(
            model_id, f"{directory} has a {CONFIG_FILE} but no weights such as {HUB_WEIGHTS[0]}"
        )
    return Checkpoint(model_id, directory, _towers(model_id, directory / CONFIG_FILE))


def _towers(model_id: str, file: Path) -> dict[str, Any]:
    try:
        towers = json.loads(file.read_text(encoding="utf-8"))["model_cfg"]
        if {"embed_dim", "vision_cfg", "text_cfg"} <= set(towers):
            return dict(towers)
    except (ValueError, KeyError, TypeError) as error:
        raise refusal(model_id, f"{file} is no OpenCLIP configuration: {error!r}") from error
    raise refusal(
        model_id,
        f"{file} is no OpenCLIP configuration: embed_dim, vision_cfg or text_cfg is missing",
    )


def _download(model_id: str, repository: str, token: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        config = Path(hf_hub_download(repository, CONFIG_FILE, token=token))
    except Exception as error:
        raise refusal(model_id, _hub_reason(error, CONFIG_FILE)) from error
    missing: Exception | None = None
    for name in HUB_WEIGHTS:
        try:
            # The same commit as the configuration's: a cache names its directories by commit.
            hf_hub_download(repository, name, revision=config.parent.name, token=token)
            return config.parent
        except EntryNotFoundError as error:
            missing = error
        except Exception as error:
            raise refusal(model_id, _hub_reason(error, name)) from error
    assert missing is not None
    raise refusal(
        model_id, _hub_reason(missing, f"weights ({', '.join(HUB_WEIGHTS)})")
    ) from missing


def _hub_reason(error: Exception, what: str) -> str:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return "the hub gives it only to accounts that were granted access"
        case errors.RepositoryNotFoundError():
            return "the hub has no such model, or shows it only with a token"
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            return f"the hub cannot be reached, and its {what} is not in the local cache"
        case errors.EntryNotFoundError():
            return f"the hub has the model, but not its {what}"
        case errors.HFValidationError():
            return "hf-hub: must be followed by ORG/NAME"
        case _:
            return f"the hub cannot be reached ({type(error).__name__}: {error})"


def build(checkpoint: Checkpoint, *, precision: str, device: str, size: int | None) -> Any:
    """OpenCLIP's network with the checkpoint's weights, in eval mode.

    `size`: pixels of the square input; another than the model's own resamples the position
    embeddings. Raises ServiceFault where the weights do not fit the configuration.
    """
    import open_clip

    _register(checkpoint)
    try:
        with _Loading():
            network = open_clip.create_model(
                f"local-dir:{checkpoint.directory}",
                precision=precision,
                device=device,
                force_image_size=size,
                require_pretrained=True,
            )
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:400]
        raise refusal(checkpoint.model_id, f"{checkpoint.directory}: {reason}") from error
    _check_patches(network, size)
    return network.eval()


def build_tokenizer(checkpoint: Checkpoint) -> Any:
    """OpenCLIP's tokenizer for the model; a relative `bpe_path` is one beside the configuration."""
    import open_clip

    text = checkpoint.towers["text_cfg"]
    merges = (text.get("tokenizer_kwargs") or {}).get("bpe_path")
    options = {"bpe_path": str(checkpoint.directory / merges)} if merges else {}
    on_hub = checkpoint.model_id.startswith("hf-hub:") and text.get("hf_tokenizer_name")
    source = checkpoint.model_id if on_hub else f"local-dir:{checkpoint.directory}"
    try:
        return open_clip.get_tokenizer(source, **options)
    except Exception as error:
        raise refusal(
            checkpoint.model_id, f"its tokenizer: {type(error).__name__}: {error}"
        ) from error


def _register(checkpoint: Checkpoint) -> None:
    if checkpoint.is_bundled:
        from sidecar.bundled import architecture  # noqa: F401  registers the tower with timm


def _check_patches(network: Any, size: int | None) -> None:
    # timm's towers keep the patch's size in `trunk.patch_embed`, OpenCLIP's own in the tower.
    tower = getattr(network.visual, "trunk", network.visual)
    patch = getattr(getattr(tower, "patch_embed", tower), "patch_size", (1,))[0]
    if size is not None and size % patch:
        below = size - size % patch
        near = f"{below} or {below + patch}" if below else str(patch)
        raise ServiceFault(
            f"VISION_SIZE={size} is no multiple of the model's patch of {patch} pixels: use {near}."
        )


class _Loading(TorchFunctionMode):
    """Leaves out random numbers, and resamples positions in fp32, while OpenCLIP loads a model.

    Every parameter comes from the file (OpenCLIP loads strictly), and drawing 428 million numbers
    takes seconds. A CPU cannot resample the fp16 positions of a half-precision file.
    """

    RANDOM = frozenset(
        {"normal_", "uniform_", "trunc_normal_", "erfinv_"}
        | {
            f"{kind}_{spread}_"
            for kind in ("kaiming", "xavier")
            for spread in ("normal", "uniform")
        }
    )

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.RANDOM:
            return args[0] if args else kwargs["tensor"]
        if func is interpolate and args:
            return func(args[0].float(), *args[1:], **kwargs)
        return func(*args, **kwargs)
