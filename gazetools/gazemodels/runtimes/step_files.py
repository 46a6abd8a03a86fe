"""The pipeline's two graphs of a model as files in the cache, written once per model and version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from gazetools._version import __version__
from gazetools.gazemodels.interface import GazeModel
from gazetools.gazemodels.runtimes.graphs import GraphForm
from gazetools.gazemodels.runtimes.tracing import data_path_of, write_graph
from gazetools.gazemodels.weights import cache_folder
from gazetools.io.atomic import atomic_folder, sha256_of_file
from gazetools.io.folders import make_folder
from gazetools.io.json_files import read_json, write_json_atomic
from gazetools.schemas.errors import DataFileError

_OPSET = 17
_NAMES = ("frame.onnx", "people.onnx")
_SUMS = "sha256.json"


@dataclass(frozen=True)
class StepFiles:
    """The two files in the cache."""

    frame: Path
    people: Path

    @property
    def folder(self) -> Path:
        """Folder of this model, which may also keep what is known about it."""
        return self.frame.parent


def runtimes_cache() -> Path:
    """Where graphs and choices of runtimes are kept: `$GAZETOOLS_CACHE/runtimes`."""
    return cache_folder().parent / "runtimes"


def model_digest(model: GazeModel, **more: str) -> str:
    """Hex sha256 of everything that determines the graphs of a model, and of `more`."""
    facts = {
        "name": model.name,
        "weights": model.weights_sha256,
        "settings": {key: value for key, value in model.settings.items() if key != "runtime"},
        "gazetools": __version__,
        "torch": str(torch.__version__),
        **more,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def step_files(model: GazeModel, form: GraphForm) -> StepFiles:
    """The two graphs of a model, written where they are missing or damaged. Raises FaultError for a full disk."""
    folder = runtimes_cache() / model_digest(model)[:32]
    if not _is_whole(folder):
        make_folder(folder.parent)
        with atomic_folder(folder) as temp:
            for name, graph in zip(_NAMES, form.steps(), strict=True):
                write_graph(graph, temp / name, opset=_OPSET, people="dynamic", entries={"gazetools.part": graph.part})
            write_json_atomic(temp / _SUMS, _sums(temp), durable=False)
    return StepFiles(folder / _NAMES[0], folder / _NAMES[1])


def _is_whole(folder: Path) -> bool:
    try:
        return bool(read_json(folder / _SUMS) == _sums(folder))
    except (DataFileError, OSError):
        return False


def _sums(folder: Path) -> dict[str, str]:
    """File name -> sha256 of the graphs and their data."""
    files = [file for name in _NAMES for file in (folder / name, data_path_of(folder / name)) if file.exists()]
    return {file.name: sha256_of_file(file) for file in files}
