"""Checkpoints of a run: staged folders with checksums. The last two and the best are kept, a broken one is never used.

`step-*` hold everything a resumed run needs: plain values in state.pt, tensors in one file per process, those that
several models share once. Versions before had all in state.pt, or shared tensors in every place. `best/<learner>` has
the weights of one model at its best epoch, in one file.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from gazetools.io.atomic import atomic_folder, remove_stale_temps, sha256_of_file, temp_path_for, write_error
from gazetools.io.json_files import dumps, read_json
from gazetools.io.raw_file import ErrorHidingFile
from gazetools.schemas.errors import CheckpointError, DataFileError, FaultError
from gazetools.trainer.folder.paths import BEST_NAME, MANIFEST_NAME, STATE_NAME
from gazetools.trainer.folder.shard_files import (
    SAME_KEY,
    add_tensors,
    put_same,
    shard_names,
    tensors_of,
    without_tensors,
    write_shard,
)
from gazetools.trainer.processes.world import World

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


@dataclass(frozen=True, kw_only=True)
class CheckpointPlace:
    """Where a checkpoint is written, and where it lies when it is whole."""

    stage: Path
    path: Path


def new_place(folder: Path, *, step: int) -> CheckpointPlace:
    """A place for a new checkpoint below `folder`, with the folder for its files made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale_temps(folder)
        # Saving twice at one step (end of training, end of validation) makes two folders; the later number wins.
        number = 1 + max((int(m[2]) for p in folder.iterdir() if (m := _FOLDER_NAME.match(p.name))), default=0)
        path = folder / f"step-{step:09d}-{number}"
        stage = temp_path_for(path)
        stage.mkdir()
    except OSError as error:
        raise write_error(error, folder) from error
    return CheckpointPlace(stage=stage, path=path)


def save_checkpoint(
    folder: Path,
    state: Mapping[str, Any],
    *,
    step: int,
    world: World | None = None,
    place: CheckpointPlace | None = None,
) -> Path:
    """Commit `state` as a new folder below `folder`, then remove all but the last two.

    `state` holds plain values and tensors only; its plain values count in the process that leads, its tensors in every
    process. Every process of `world` (None: this one alone) must call it with the same `place`.

    Raises FaultError in all of them where one could not write; older checkpoints stay then.
    """
    world, place = world or World(), place or new_place(folder, step=step)
    problem: FaultError | None = None
    checksums: dict[str, str] = {}
    try:
        write_shard(place.stage, dict(tensors_of(state)), world)
        checksums = {name: sha256_of_file(place.stage / name) for name in shard_names(place.stage, world.rank)}
    except OSError as error:
        problem = write_error(error, place.path)
    except FaultError as error:
        problem = error
    parts = world.gather_saved((problem, checksums))
    problem = next((one for one, _ in parts if one is not None), None)
    if world.leads:
        if problem is None:
            problem = _commit(place, state, step, {name: sha for _, found in parts for name, sha in found.items()})
        else:
            shutil.rmtree(place.stage, ignore_errors=True)
    problem = world.gather_saved(problem)[0]
    if problem is not None:
        raise problem
    if world.leads:
        for old in list_checkpoints(folder)[KEEP_LAST:]:
            shutil.rmtree(old, ignore_errors=True)
    return place.path


def _commit(
    place: CheckpointPlace, state: Mapping[str, Any], step: int, checksums: Mapping[str, str]
) -> FaultError | None:
    """Add the plain values and the manifest, and give the folder its name; what went wrong is returned."""
    try:
        with atomic_folder(place.path, temp=place.stage) as stage:
            _write(stage, without_tensors(dict(state)), step, checksums=checksums)
    except FaultError as error:
        return error
    return None


def save_best(folder: Path, name: str, state: dict[str, Any], *, step: int) -> Path:
    """Replace the best weights of the learner `name` below `folder`."""
    path = folder / BEST_NAME / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(path) as stage:
        _write(stage, state, step, checksums={})
    return path


def _write(stage: Path, state: dict[str, Any], step: int, *, checksums: Mapping[str, str]) -> None:
    """Write state.pt and the manifest; `checksums` are those of the other files."""
    file = ErrorHidingFile(stage / STATE_NAME)  # torch would tell of a full disk as of a fault of its own
    with closing(file):
        torch.save(state, cast(IO[bytes], file))
    file.raise_error()
    sums = {STATE_NAME: sha256_of_file(stage / STATE_NAME), **checksums}
    manifest = {
        "schema_name": "gazetools.checkpoint",
        "schema_version": (4 if SAME_KEY in state else 3) if checksums else 2,
        "step": step,
        "files": {name: {"sha256": value} for name, value in sums.items()},
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


def load_checkpoint(path: Path, *, compare: bool = True) -> dict[str, Any]:
    """The state in a checkpoint folder whose checksums agree, whichever version wrote it; CheckpointError otherwise.

    Tensors of shards stay in their files until they are used. Without `compare` another process has compared checksums.
    """
    state_path = path / STATE_NAME
    try:
        files = read_json(path / MANIFEST_NAME)["files"]
        expected = {name: files[name]["sha256"] for name in {STATE_NAME, *files}}
        compared = expected if compare else {}
        damaged = [name for name, value in compared.items() if sha256_of_file(path / Path(name).name) != value]
    except (DataFileError, OSError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"The checkpoint {path} is incomplete: {error}.") from None
    if damaged:
        raise CheckpointError(
            f"The checkpoint {path} is damaged: the sha256 of {', '.join(sorted(damaged))} is not its manifest's."
        )
    try:
        state = torch.load(state_path, map_location="cpu", weights_only=True)  # noqa: TID251
        if isinstance(state, dict):
            add_tensors(state, path)
            put_same(state)
    except Exception as error:
        raise CheckpointError(f"The checkpoint {state_path} cannot be read: {str(error)[:300]}.") from None
    if not isinstance(state, dict) or state.get("format") not in (TRAINING_FORMAT, WEIGHTS_FORMAT):
        raise CheckpointError(f"{state_path} is no training state of gazetools.")
    return state
