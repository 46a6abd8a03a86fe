"""Names of gaze models and how each is loaded; other packages add theirs without a change here. Imports no torch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gazetools.gazemodels.facts_own import CONTROL
from gazetools.gazemodels.gazelle.config import config_from_metadata
from gazetools.gazemodels.gazelle_dinov3.variants_dinov3 import DINOV3_METADATA_KEY, dinov3_config_from_metadata
from gazetools.gazemodels.interface import Backend, Loader, LoadSettings
from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.gazemodels.page.config import page_config_from_metadata
from gazetools.schemas.errors import CheckpointError, EnvironmentLacksError, UsageError
from gazetools.schemas.extract import BACKEND_NAMES

if TYPE_CHECKING:
    from gazetools.gazemodels.interface import GazeModel
    from gazetools.progress import Progress

ENTRY_POINTS = "gazetools.gaze_models"
"""Group of entry points: `my-model = "my_package:load"`, a `Loader`."""

USUAL_SHAPE = (64, 64)
"""(H, W) of the heatmaps of the released models and of the controls."""

_GAZELLE = "gazetools.gazemodels.gazelle.loading:load"
_PAGE = "gazetools.gazemodels.page.loading:load"
_DINOV3 = "gazetools.gazemodels.gazelle_dinov3.loading:load"

_LOADERS: dict[str, Loader] = {}
"""What `register` added."""


def _load_upstream(settings: LoadSettings, loader: Loader) -> GazeModel:
    if loader is not _loader_at(_GAZELLE):
        raise UsageError(f"--backend upstream runs Gaze-LLE only, not {settings.name!r}.")
    from gazetools.gazemodels.upstream import load_upstream

    return load_upstream(settings)


def _load_on(runtime: str, settings: LoadSettings, loader: Loader) -> GazeModel:
    """The model computed by another program; an .onnx file is run as it is."""
    if is_onnx(settings.name):
        from gazetools.gazemodels.runtimes.onnx_model import load_onnx

        return load_onnx(settings, runtime)
    from gazetools.gazemodels.runtimes.computed import load_on_runtime

    return load_on_runtime(settings, loader, runtime)


def _load_fastest(settings: LoadSettings, loader: Loader) -> GazeModel:
    if is_onnx(settings.name):
        raise UsageError(
            f"--runtime auto compares programs with torch, which does not run {settings.name}.",
            hint="Use --runtime onnxruntime or openvino.",
        )
    from gazetools.gazemodels.runtimes.choosing import load_fastest

    return load_fastest(settings, loader)


BACKENDS: dict[str, Backend] = {
    "gazetools": lambda settings, loader: loader(settings),
    "upstream": _load_upstream,
}
"""`--backend NAME` -> what loads a model."""

RUNTIMES: dict[str, Backend] = {
    **{name: partial(_load_on, name) for name in ("onnxruntime", "openvino", "tensorrt")},
    "auto": _load_fastest,
    "traceable": lambda settings, loader: loader(replace(settings, device="cpu", dtype="float32", pack="off")),
}
"""`--runtime NAME`, other than torch -> what loads a model; `traceable` is what `export` loads."""


def register(name: str, loader: Loader) -> None:
    """Make `--model name` (and `load_gaze_model(name)`) use `loader`, in this process; UsageError for a taken name.

    An installed package does it for every process, workers included, by an entry point of `gazetools.gaze_models`.
    """
    if name in model_names():
        raise UsageError(f"The gaze model name {name!r} is taken.", hint=f"Taken: {', '.join(model_names())}.")
    _LOADERS[name] = loader


def register_backend(name: str, backend: Backend) -> None:
    """Make `--backend name` load models by `backend`, in this process. Raises ValueError where the name is taken."""
    BACKEND_NAMES.add(name)
    BACKENDS[name] = backend


def model_names() -> list[str]:
    """Every name that `load_gaze_model` takes in addition to paths, ours first."""
    return list(dict.fromkeys([*GAZE_MODELS, *_LOADERS, *(each.name for each in _installed())]))


def added_models() -> dict[str, str]:
    """Name -> `module:function` of the models that other packages add or take over, for lists of models."""
    registered = {name: f"{loader.__module__}:{loader.__qualname__}" for name, loader in _LOADERS.items()}
    return {name: place for name, place in (_entry_points() | registered).items() if not _is_control(name)}


def load_gaze_model(
    name_or_path: str,
    *,
    checkpoint: str | None = None,
    backbone: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    preprocess: Literal["exact", "fast"] = "exact",
    backend: str = "gazetools",
    progress: Progress | None = None,
) -> GazeModel:
    """Load any gaze model: Gaze-LLE or PaGE by name or path, or one of `model_names()`.

    The other arguments are those of `gazetools.load_model`.

    `backend` is a key of `BACKENDS` or `RUNTIMES`; `upstream` runs a Gaze-LLE by the importable package `gazelle`
    (fkryan/gazelle), `onnxruntime`, `openvino` and `tensorrt` compute it outside torch, `auto` takes the fastest;
    `traceable` is float32 on the CPU with plain layers, as `export` writes it (docs/runtimes.md).

    Raises UsageError for an unknown name or options that the model can't use, CheckpointError for weights that do not
    fit, EnvironmentLacksError for missing weights, devices or packages.
    """
    known = RUNTIMES | BACKENDS
    if backend not in known:
        raise UsageError(f"Unknown backend {backend!r}.", hint=f"Use {', '.join(known)}.")
    settings = LoadSettings(
        name=name_or_path,
        checkpoint=checkpoint,
        backbone=backbone,
        device=device,
        dtype=dtype,
        preprocess=preprocess,
        progress=progress,
    )
    return known[backend](settings, find_loader(name_or_path))


def heatmap_shape_of(name_or_path: str) -> tuple[int, int]:
    """(H, W) of a model's heatmaps without loading it: exact for files and names that state it, else `USUAL_SHAPE`."""
    if name_or_path in GAZE_MODELS:
        return GAZE_MODELS[name_or_path].out_size
    if is_onnx(name_or_path) and Path(name_or_path).is_file():
        from gazetools.gazemodels.runtimes.onnx_model import heatmap_shape_of_onnx

        with suppress(CheckpointError, EnvironmentLacksError):  # loading reports it
            return heatmap_shape_of_onnx(Path(name_or_path)) or USUAL_SHAPE
    with suppress(CheckpointError):  # loading reports it
        metadata = _metadata_of(name_or_path)
        for read_config in (config_from_metadata, dinov3_config_from_metadata, page_config_from_metadata):
            if config := read_config(metadata, path=name_or_path):
                return config.out_size
    return USUAL_SHAPE


def _metadata_of(name: str) -> dict[str, str]:
    """The text metadata of a .safetensors file; empty where `name` is no such file."""
    path = Path(name)
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return {}
    from gazetools.gazemodels.gazelle.checkpoints import read_metadata

    return read_metadata(path)


def find_loader(name: str) -> Loader:
    """Loader of `name`: what was registered, entry points, our table, PaGE's for its files, else Gaze-LLE's.

    Entry points may take over the names of models with weights, not those of the controls. Gaze-LLE's loader takes its
    own files and reports unknown names.
    """
    if name in _LOADERS:
        return _LOADERS[name]
    if is_onnx(name):
        return _loader_at("gazetools.gazemodels.runtimes.onnx_model:load_onnx")
    ours = {facts.name: facts.loader for facts in GAZE_MODELS.values()}
    places = _entry_points() | ours if _is_control(name) else ours | _entry_points()
    return _loader_at(places.get(name) or _place_of_file(name))


def _is_control(name: str) -> bool:
    return name in GAZE_MODELS and GAZE_MODELS[name].family == CONTROL


def _entry_points() -> dict[str, str]:
    return {entry.name: entry.value for entry in reversed(list(_installed()))}  # the first of a name counts


def _place_of_file(name: str) -> str:
    """Where the loader is of a name that no table has: a file or folder of weights, or a misspelt name."""
    if not Path(name).exists():
        return _PAGE if name.lower().startswith(("page_", "page-")) and not Path(name).suffix else _GAZELLE
    with suppress(CheckpointError):  # loading reports it
        if DINOV3_METADATA_KEY in _metadata_of(name):
            return _DINOV3
    from gazetools.gazemodels.page.checkpoints import is_page_place

    return _PAGE if is_page_place(Path(name)) else _GAZELLE


def is_onnx(name: str) -> bool:
    """Whether `name` is that of an ONNX file, which needs another program than torch."""
    return name.lower().endswith(".onnx")


def _loader_at(place: str) -> Loader:
    loader: Loader = EntryPoint("", place, ENTRY_POINTS).load()
    return loader


def _installed() -> metadata.EntryPoints:
    return metadata.entry_points(group=ENTRY_POINTS)
