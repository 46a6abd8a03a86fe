"""Where the choice of a number type is kept: in the cache for all stores, and in a store for all who write it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import ValidationError

from gazetools.gazemodels.devices import device_kind
from gazetools.gazemodels.interface import GazeModel
from gazetools.gazemodels.weights import cache_folder
from gazetools.io.atomic import temp_path_for, write_error
from gazetools.io.folders import make_folder
from gazetools.io.json_files import dumps, read_json, write_json_atomic
from gazetools.schemas.errors import DataFileError, FaultError
from gazetools.schemas.precision import NumberType, PrecisionChoice
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.video_id import path_of_id
from gazetools.store import open_store
from gazetools.store.listing import seems_complete

PRECISION_FOLDER = ".precision"
"""Folder of a store; a name that no video id can have."""


def choice_folder() -> Path:
    """Where choices are kept for all stores: `precision` next to the folder of weights."""
    return cache_folder().parent / "precision"


def choice_of_machine(model: GazeModel) -> PrecisionChoice | None:
    """What was found for these weights on this kind of device with this torch; None: nothing yet, or unreadable."""
    return _read(choice_folder() / _machine_name(model))


def keep_for_machine(model: GazeModel, choice: PrecisionChoice) -> Path:
    """Write the choice where later runs find it. Raises FaultError where the cache can't be written."""
    path = choice_folder() / _machine_name(model)
    write_json_atomic(path, choice.model_dump(mode="json"))
    return path


def choice_of_store(store: Path, model: GazeModel) -> PrecisionChoice | None:
    """What an earlier run into `store` chose for these weights on this type of device."""
    return _read(store / PRECISION_FOLDER / _store_name(model))


def keep_for_store(store: Path, model: GazeModel, choice: PrecisionChoice) -> PrecisionChoice:
    """The choice of all workers of `store`: that of the first who calls, whole or not there at all.

    Raises FaultError where the store can't be written.
    """
    path = store / PRECISION_FOLDER / _store_name(model)
    temp = temp_path_for(path)
    try:
        make_folder(path.parent)
        temp.write_text(dumps(choice.model_dump(mode="json")), encoding="utf-8")
        try:
            os.link(temp, path)  # fails where another worker was first
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                temp.replace(path)
    except OSError as error:
        raise write_error(error, path) from error
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
    kept = _read(path)
    if kept is None:
        raise FaultError(
            f"{path} is not a choice of a number type.",
            hint=f"Remove it, then run again: rm '{path}'",
            path=str(path),
        )
    return kept


def type_of_finished(store: Path, video_ids: list[str], model: GazeModel) -> tuple[str, PrecisionChoice | None] | None:
    """Number type, with its evidence, of the first finished video that these weights made on this type of device."""
    for video_id in video_ids:
        if seems_complete(store, video_id) is None:
            continue
        with suppress(DataFileError), open_store(path_of_id(store, video_id, STORE_SUFFIX)) as reader:
            made = reader.provenance.model
            if made.weights_sha256 == model.weights_sha256 and made.device == model.device.type:
                return made.dtype, made.precision
    return None


def guessed_type(store: Path, asked_for: str, device: torch.device) -> NumberType | None:
    """The number type of a choice for the same `--model`: spares loading it twice, and must be verified."""
    kind = device_kind(device)
    for choice in [*_all_in(store / PRECISION_FOLDER), *_all_in(choice_folder())]:
        if choice.asked_for == asked_for and choice.device_type == device.type and choice.device == kind:
            return choice.dtype
    return None


def _all_in(folder: Path) -> Iterator[PrecisionChoice]:
    for path in sorted(folder.glob("*.json")):
        if (choice := _read(path)) is not None:
            yield choice


def _read(path: Path) -> PrecisionChoice | None:
    try:
        return PrecisionChoice.model_validate(read_json(path, max_bytes=1 << 20))
    except (DataFileError, ValidationError):
        return None


def _machine_name(model: GazeModel) -> str:
    return _name(model, device_kind(model.device), torch.__version__, model.implementation, str(model.in_size))


def _store_name(model: GazeModel) -> str:
    return _name(model, model.device.type)


def _name(model: GazeModel, *parts: str) -> str:
    key = json.dumps([model.name, model.weights_sha256, *parts], sort_keys=True)
    readable = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in model.name)[:60]
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
