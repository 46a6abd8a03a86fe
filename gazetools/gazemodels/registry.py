"""Names of gaze models and how each is loaded; other packages add theirs without a change here. Imports no torch."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gazetools.gazemodels.facts_own import CONTROL
from gazetools.gazemodels.gazelle.config import config_from_metadata
from gazetools.gazemodels.interface import Backend, Loader, LoadSettings
from gazetools.gazemodels.model_table import GAZE_MODELS
from gazetools.gazemodels.page.config import page_config_from_metadata
from gazetools.schemas.errors import CheckpointError, UsageError
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

_LOADERS: dict[str, Loader] = {}
"""What `register` added."""


def _load_upstream(settings: LoadSettings, loader: Loader) -> GazeModel:
    if loader is not _loader_at(_GAZELLE):
        raise UsageError(f"--backend upstream runs Gaze-LLE only, not {settings.name!r}.")
    from gazetools.gazemodels.upstream import load_upstream

    return load_upstream(settings)


BACKENDS: dict[str, Backend] = {"gazetools": lambda settings, loader: loader(settings), "upstream": _load_upstream}
"""`--backend NAME` -> what loads a model."""


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

    `backend` is a key of `BACKENDS`; `upstream` runs a Gaze-LLE by the importable package `gazelle` (fkryan/gazelle).

    Raises UsageError for an unknown name or options that the model can't use, CheckpointError for weights that do not
    fit, EnvironmentLacksError for missing weights, devices or packages.
    """
    if backend not in BACKENDS:
        raise UsageError(f"Unknown backend {backend!r}.", hint=f"Use {', '.join(BACKENDS)}.")
    settings = LoadSettings(
        name=name_or_path,
        checkpoint=checkpoint,
        backbone=backbone,
        device=device,
        dtype=dtype,
        preprocess=preprocess,
        progress=progress,
    )
    return BACKENDS[backend](settings, _find(name_or_path))


def heatmap_shape_of(name_or_path: str) -> tuple[int, int]:
    """(H, W) of a model's heatmaps without loading it: `USUAL_SHAPE` for models that other packages add."""
    if name_or_path in GAZE_MODELS:
        return GAZE_MODELS[name_or_path].out_size
    path = Path(name_or_path)
    if path.suffix.lower() == ".safetensors" and path.is_file():
        from gazetools.gazemodels.gazelle.checkpoints import read_metadata

        with suppress(CheckpointError):  # loading reports it
            metadata = read_metadata(path)
            if config := config_from_metadata(metadata, path=name_or_path):
                return config.out_size
            if page := page_config_from_metadata(metadata, path=name_or_path):
                return page.out_size
    return USUAL_SHAPE


def _find(name: str) -> Loader:
    """Loader of `name`: what was registered, entry points, our table, PaGE's for its files, else Gaze-LLE's.

    Entry points may take over the names of models with weights, not those of the controls. Gaze-LLE's loader takes its
    own files and reports unknown names.
    """
    if name in _LOADERS:
        return _LOADERS[name]
    ours = {facts.name: facts.loader for facts in GAZE_MODELS.values()}
    places = _entry_points() | ours if _is_control(name) else ours | _entry_points()
    if (place := places.get(name)) is None:
        place = _PAGE if _means_page(name) else _GAZELLE
    return _loader_at(place)


def _is_control(name: str) -> bool:
    return name in GAZE_MODELS and GAZE_MODELS[name].family == CONTROL


def _entry_points() -> dict[str, str]:
    return {entry.name: entry.value for entry in reversed(list(_installed()))}  # the first of a name counts


def _means_page(name: str) -> bool:
    """Whether a name that no table has means PaGE: a file or folder of its weights, or a misspelt size."""
    if not Path(name).exists():
        return name.lower().startswith(("page_", "page-")) and not Path(name).suffix
    from gazetools.gazemodels.page.checkpoints import is_page_place

    return is_page_place(Path(name))


def _loader_at(place: str) -> Loader:
    loader: Loader = EntryPoint("", place, ENTRY_POINTS).load()
    return loader


def _installed() -> metadata.EntryPoints:
    return metadata.entry_points(group=ENTRY_POINTS)
