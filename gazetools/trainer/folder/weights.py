"""Exports: the weights of one model as `model.safetensors`, described by `model.json`, written and read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gazetools.io.atomic import atomic_folder, sha256_of_file
from gazetools.io.json_files import dumps, read_json
from gazetools.schemas.errors import CheckpointError, DataFileError, UsageError
from gazetools.trainer.folder.checkpoints import WEIGHTS_FORMAT, load_checkpoint

WEIGHTS_NAME = "model.safetensors"
DESCRIPTION_NAME = "model.json"
_SCHEMA = "gazetools.exported_weights"
_PARTS = ("predictor", "probe")


@dataclass(frozen=True, kw_only=True)
class ExportedWeights:
    """Content of an export. The frozen encoder is not in it; `config` names it."""

    learner: str
    config: dict[str, Any]  # the run's resolved config
    labels: dict[str, list[Any]]  # task -> class ids in the order of the probe's outputs
    best: dict[str, Any] | None  # epoch, metric and value that chose these weights
    predictor: dict[str, Tensor]
    probe: dict[str, Tensor]

    def as_state(self) -> dict[str, Any]:
        """The same as the state in a checkpoint of one learner's weights."""
        return {"format": WEIGHTS_FORMAT, **vars(self)}


def export_weights(checkpoint: Path, output: Path) -> Path:
    """Write the best weights at `checkpoint` to the folder `output`; UsageError where that holds something else."""
    from safetensors.torch import save_file

    state = load_checkpoint(checkpoint)
    if state["format"] != WEIGHTS_FORMAT:
        raise UsageError(f"{checkpoint} holds a whole training state.", hint="Export a folder below checkpoints/best.")
    if output.exists() and not is_export(output) and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} exists and holds something else.", hint="Choose a new folder.")
    # Cloned: tensors of one file may share memory, which safetensors refuses.
    tensors = {f"{part}.{key}": value.contiguous().clone() for part in _PARTS for key, value in state[part].items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(output) as stage:
        save_file(tensors, stage / WEIGHTS_NAME, metadata={"format": "pt"})
        description = {
            "schema_name": _SCHEMA,
            "schema_version": 1,
            "tool_version": state["version"],
            **{key: state[key] for key in ("learner", "best", "labels", "config", "train_clips")},
            "sha256": sha256_of_file(stage / WEIGHTS_NAME),
        }
        (stage / DESCRIPTION_NAME).write_text(dumps(description), encoding="utf-8")
    return output / WEIGHTS_NAME


def is_export(path: Path) -> bool:
    """Whether a folder looks like an export."""
    return (path / WEIGHTS_NAME).is_file() and (path / DESCRIPTION_NAME).is_file()


def load_exported(path: Path) -> ExportedWeights:
    """Read an export. Raises CheckpointError where a file is missing, damaged or another one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        description = read_json(path / DESCRIPTION_NAME)
        if description["schema_name"] != _SCHEMA or sha256_of_file(path / WEIGHTS_NAME) != description["sha256"]:
            raise CheckpointError(
                f"{path / WEIGHTS_NAME} is damaged: it is not the file that {DESCRIPTION_NAME} names."
            )
        tensors = load_file(path / WEIGHTS_NAME)
        values: dict[str, Any] = {key: description[key] for key in ("learner", "config", "labels", "best")}
        for part in _PARTS:
            values[part] = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
        return ExportedWeights(**values)
    except (DataFileError, SafetensorError, OSError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no export of weights that can be read: {error}.", hint="Export it again."
        ) from None
