"""Names of gaze-target models and how each is loaded; other packages add theirs without a change here."""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gazetools.gazemodels.interface import Loader, LoadSettings
from gazetools.schemas.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from gazetools.gazemodels.interface import GazeModel
    from gazetools.progress import Progress

ENTRY_POINTS = "gazetools.gaze_models"
"""Group of entry points: `my-model = "my_package:load"`, a `Loader`."""

USUAL_SHAPE = (64, 64)
"""(H, W) of the heatmaps of the released models and of the controls."""

Backend = Literal["gazetools", "upstream"]


_LOADERS: dict[str, Loader] = {}


def register(name: str, loader: Loader) -> None:
    """Make `--model name` (and `load_gaze_model(name)`) use `loader`, in this process.

    An installed package does the same for every process, workers included, by an entry point of the group
    `gazetools.gaze_models`. Raises UsageError where the name is taken.
    """
    if name in model_names():
        raise UsageError(f"The gaze model name {name!r} is taken.", hint=f"Taken: {', '.join(model_names())}.")
    _LOADERS[name] = loader


def model_names() -> list[str]:
    """Every name that `load_gaze_model` takes beside paths, ours first."""
    from gazetools.gazemodels.gazelle.config import RELEASED_MODELS, TINY_MODEL

    installed = (entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINTS))
    return list(dict.fromkeys([*RELEASED_MODELS, TINY_MODEL.name, *_BUILT_IN, *_LOADERS, *installed]))


def load_gaze_model(
    name_or_path: str,
    *,
    checkpoint: str | None = None,
    backbone: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    preprocess: Literal["exact", "fast"] = "exact",
    backend: Backend = "gazetools",
    progress: Progress | None = None,
) -> GazeModel:
    """Load any gaze-target model: Gaze-LLE by name or path, `centre-prior`, `head-direction`, a registered one.

    Args:
        name_or_path: see `gazetools.load_model` for Gaze-LLE; else a name of `model_names()`.
        backend: `upstream` runs a Gaze-LLE by the importable package `gazelle` (fkryan/gazelle) instead of ours.

    Others as in `gazetools.load_model`.

    Raises:
        UsageError: an unknown name, or options that the model can't use.
        CheckpointError, EnvironmentLacksError: weights that do not fit or are not there, no such device or package.
    """
    settings = LoadSettings(
        name=name_or_path,
        checkpoint=checkpoint,
        backbone=backbone,
        device=device,
        dtype=dtype,
        preprocess=preprocess,
        progress=progress,
    )
    loader = _find(name_or_path)
    if backend == "upstream":
        if loader is not _load_gazelle:
            raise UsageError(f"--backend upstream runs Gaze-LLE only, not {name_or_path!r}.")
        from gazetools.gazemodels.upstream import load_upstream

        return load_upstream(settings)
    return loader(settings)


def heatmap_shape_of(name_or_path: str) -> tuple[int, int]:
    """(H, W) of a model's heatmaps, told before it is loaded: of a self-describing file exactly, else `USUAL_SHAPE`."""
    path = Path(name_or_path)
    if path.suffix.lower() == ".safetensors" and path.is_file():
        from gazetools.gazemodels.gazelle.checkpoints import read_metadata
        from gazetools.gazemodels.gazelle.config import config_from_metadata

        with suppress(CheckpointError):  # said when it is loaded
            if config := config_from_metadata(read_metadata(path), path=name_or_path):
                return config.out_size
    return USUAL_SHAPE


def _find(name: str) -> Loader:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name in _LOADERS:
        return _LOADERS[name]
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if entry.name == name:
            loader: Loader = entry.load()
            return loader
    return _load_gazelle


def _load_gazelle(settings: LoadSettings) -> GazeModel:
    from gazetools.gazemodels.gazelle import load_model

    return load_model(
        settings.name,
        checkpoint=settings.checkpoint,
        backbone=settings.backbone,
        device=settings.device,
        dtype=settings.dtype,  # type: ignore[arg-type]  # load_model refuses other words itself
        preprocess=settings.preprocess,
        progress=settings.progress,
    )


def _load_centre_prior(settings: LoadSettings) -> GazeModel:
    from gazetools.gazemodels.baselines import CentrePrior

    return CentrePrior.load(settings)


def _load_head_direction(settings: LoadSettings) -> GazeModel:
    from gazetools.gazemodels.baselines import HeadDirection

    return HeadDirection.load(settings)


_BUILT_IN: dict[str, Loader] = {"centre-prior": _load_centre_prior, "head-direction": _load_head_direction}
