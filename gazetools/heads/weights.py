"""Find a detector's weights: a local folder or file, the hub's cache, or the commands that get them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from gazetools.gazemodels.weights import RemoteFile, is_offline, obtain
from gazetools.io.json_files import read_json
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from gazetools.schemas.heads import YUNET_URL

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"


def model_folder(name_or_path: str, *, option: str, offline: bool | None = None) -> Path:
    """A folder with `config.json` and `model.safetensors`: `name_or_path` itself, or the hub's snapshot of that name.

    `option` is what takes a folder, for messages, such as `--heads detect:`; `offline` as in `is_offline`. Raises
    UsageError for another text or a folder without these files, EnvironmentLacksError where the hub's can't be had.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        if absent := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
            raise UsageError(
                f"The folder {folder} of {option} has no {' and no '.join(absent)}.",
                hint="It must be a model folder of transformers with safetensors weights (save_pretrained makes one).",
            )
        return folder
    if name_or_path.count("/") != 1 or name_or_path.startswith((".", "/", "~")):
        raise UsageError(
            f"{option}{name_or_path}: there is no such folder, and it is no name of the form OWNER/MODEL.",
            hint="Check the path.",
        )
    return model_folder(_snapshot(name_or_path, option, is_offline(offline)), option=option)


def _snapshot(name: str, option: str, offline: bool) -> str:
    from huggingface_hub import snapshot_download

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it reports retries; the error below says what matters
    try:
        return snapshot_download(
            name, allow_patterns=[CONFIG, WEIGHTS, PREPROCESSOR], local_files_only=offline, tqdm_class=None
        )
    except Exception as error:  # the hub's client raises a dozen kinds for "not there" and "no network"
        why = "this run is offline" if offline else f"it can't be fetched: {type(error).__name__}"
        folder = name.split("/")[1]
        alone = f" (gazetools heads: --detector ./{folder})" if "detect" in option else ""
        commands = [f"hf download {name} {CONFIG} {WEIGHTS} {PREPROCESSOR} --local-dir {folder}"]
        raise EnvironmentLacksError(
            f"The weights {name} are not in the cache of huggingface_hub, and {why}.",
            hint=f"Fetch them where there is a network:\n  {commands[0]}\nthen pass: {option}./{folder}{alone}",
            commands=commands,
        ) from error
    finally:
        logger.setLevel(level)


def face_model_file(name_or_path: str, *, offline: bool | None = None) -> Path:
    """The .onnx file of YuNet: a path, or for the name `yunet` the one in our cache of weights (downloaded once).

    Raises UsageError for a path that does not exist, EnvironmentLacksError with the command that gets the file.
    """
    if name_or_path != "yunet":
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise UsageError(f"The face detector {path} does not exist.", hint="Check the path after detect:.")
        return path
    remote = RemoteFile(YUNET_URL, "--heads detect:FILE or, for gazetools heads, --detector")
    return obtain([remote], offline=offline)[0][0]


def model_facts(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(config, preprocessor settings or {}) of a model folder."""
    config = read_json(folder / CONFIG, max_bytes=4 << 20)
    settings = folder / PREPROCESSOR
    return config, read_json(settings, max_bytes=1 << 20) if settings.is_file() else {}


def load_transformer(kind: Any, folder: Path, device: Any) -> Any:
    """A model of the class `kind` from `folder`, every weight of it present, float32, for inference.

    Raises CheckpointError where weights are missing or have other shapes (transformers alone would only log it).
    """
    import transformers
    from safetensors import SafetensorError

    verbosity, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        model, notes = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype="float32"
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"The model in {folder} can't be loaded: {str(error).splitlines()[0]}.") from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
    missing = sorted(notes["missing_keys"])
    if missing or notes["mismatched_keys"]:
        raise CheckpointError(
            f"The weights in {folder} leave {len(missing)} tensors of the model without a value"
            f" ({', '.join(missing[:5])}) and {len(notes['mismatched_keys'])} with another shape.",
            hint="Use weights of the same architecture as their config.json.",
            missing=missing,
        )
    return model.to(device).eval().requires_grad_(False)
