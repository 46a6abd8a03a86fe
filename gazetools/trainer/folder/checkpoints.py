"""Checkpoints of a run: staged folders with checksums. The last two and the best are kept, a broken one is never used.

`step-*` hold everything a resumed run needs; `best/<learner>` the weights of one model at its best epoch.
"""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from gazetools.io.atomic import atomic_folder, remove_stale_temps, sha256_of_file
from gazetools.io.json_files import dumps, read_json
from gazetools.io.raw_file import ErrorHidingFile
from gazetools.schemas.errors import CheckpointError, DataFileError
from gazetools.trainer.folder.paths import BEST_NAME, MANIFEST_NAME, STATE_NAME

KEEP_LAST = 2
TRAINING_FORMAT = "gazetools.training"  # `format` of a state that a run can continue from
WEIGHTS_FORMAT = "gazetools.weights"  # `format` of the weights of one learner
_FOLDER_NAME = re.compile(r"^step-(\d{9})-(\d+)$")


@dataclass(frozen=True, kw_only=True)
class FoundCheckpoint:
    """A checkpoint that was read, and why newer ones were rejected."""

    path: Path
    state: dict[str, Any]
    rejected: list[str]


def save_checkpoint(folder: Path, state: dict[str, Any], *, step: int) -> Path:
    """Commit `state` as a new folder below `folder`, then remove all but the last two.

    `state` holds plain values and tensors only, so that it loads with weights_only. Raises FaultError where writing
    fails; older checkpoints stay then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale_temps(folder)
    # Saving twice at one step (end of training, end of validation) makes two folders; the later number wins.
    number = 1 + max((int(m[2]) for p in folder.iterdir() if (m := _FOLDER_NAME.match(p.name))), default=0)
    path = folder / f"step-{step:09d}-{number}"
    _write(path, state, step)
    for old in list_checkpoints(folder)[KEEP_LAST:]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def save_best(folder: Path, name: str, state: dict[str, Any], *, step: int) -> Path:
    """Replace the best weights of the learner `name` below `folder`."""
    path = folder / BEST_NAME / name
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, state, step)
    return path


def _write(path: Path, state: dict[str, Any], step: int) -> None:
    with atomic_folder(path) as stage:
        file = ErrorHidingFile(stage / STATE_NAME)  # torch would tell of a full disk as of a fault of its own
        with closing(file):
            torch.save(state, cast(IO[bytes], file))
        file.raise_error()
        manifest = {
            "schema_name": "gazetools.checkpoint",
            "schema_version": 2,
            "step": step,
            "files": {STATE_NAME: {"sha256": sha256_of_file(stage / STATE_NAME)}},
        }
        (stage / MANIFEST_NAME).write_text(dumps(manifest), encoding="utf-8")


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, the newest first."""
    found = [(int(m[2]), p) for p in folder.iterdir() if (m := _FOLDER_NAME.match(p.name))] if folder.is_dir() else []
    return [path for _, path in sorted(found, reverse=True)]


def best_checkpoint(folder: Path, name: str) -> Path | None:
    """Folder of the best weights of the learner `name`; None where there are none yet."""
    path = folder / BEST_NAME / name
    return path if path.is_dir() else None


def load_latest(folder: Path) -> FoundCheckpoint | None:
    """The newest whole checkpoint; None where there is none at all. Raises CheckpointError where all are broken."""
    rejected: list[str] = []
    for path in list_checkpoints(folder):
        try:
            return FoundCheckpoint(path=path, state=load_checkpoint(path), rejected=rejected)
        except CheckpointError as error:
            rejected.append(error.message)
    if rejected:
        raise CheckpointError(
            "Every checkpoint of this run is broken: " + " ".join(rejected),
            hint=f"Move {folder} away to start from the beginning.",
        )
    return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint folder whose checksum agrees; CheckpointError otherwise."""
    state_path = path / STATE_NAME
    try:
        manifest = read_json(path / MANIFEST_NAME)
        expected = manifest["files"][STATE_NAME]["sha256"]
        actual = sha256_of_file(state_path)
    except (DataFileError, OSError, KeyError, TypeError) as error:
        raise CheckpointError(f"The checkpoint {path} is incomplete: {error}.") from None
    if actual != expected:
        raise CheckpointError(f"The checkpoint {path} is damaged: the sha256 of {STATE_NAME} is not its manifest's.")
    try:
        state = torch.load(state_path, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:
        raise CheckpointError(f"The checkpoint {state_path} cannot be read: {str(error)[:300]}.") from None
    if not isinstance(state, dict) or state.get("format") not in (TRAINING_FORMAT, WEIGHTS_FORMAT):
        raise CheckpointError(f"{state_path} is no training state of gazetools.")
    return state
