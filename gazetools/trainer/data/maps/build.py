"""From the config to heatmap sources by name: dataset, store or gaze points."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from gazetools.schemas.dataset import MANIFEST_NAME
from gazetools.schemas.errors import UsageError
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.training import DataSettings
from gazetools.schemas.training_data import PRIMARY_SOURCE, HeatmapSourceSettings, SourceKind
from gazetools.trainer.data.maps.dataset import DatasetMaps, MapSource
from gazetools.trainer.data.maps.points import PointMaps
from gazetools.trainer.data.maps.store import StoreMaps

_LOOKED_AT = 10_000
"""Entries of a folder by whose names its kind is told; folders of single frames may hold millions."""


def source_settings(data: DataSettings) -> dict[str, HeatmapSourceSettings]:
    """Every source of the config by name; the first one is what a model without a choice of its own sees."""
    if not data.use_heatmap:
        return {}
    own = {PRIMARY_SOURCE: HeatmapSourceSettings(path=data.heatmap_base_path)} if data.heatmap_base_path else {}
    return {**own, **data.heatmap_sources}


def view_of(data: DataSettings, settings: HeatmapSourceSettings) -> str | None:
    """Camera of a source's heatmaps; None: the video's own."""
    return settings.view if settings.view is not None else data.heatmap_view


def source_kinds(data: DataSettings) -> dict[str, SourceKind]:
    """What every source of a run is, by name; UsageError where a path does not exist or its kind is not clear."""
    return {name: _kind_of(name, settings) for name, settings in source_settings(data).items()}


def build_sources(data: DataSettings) -> dict[str, MapSource]:
    """The sources of a run by name; UsageError where a path does not exist or its kind is not clear."""
    return {name: _build(data, name, settings) for name, settings in source_settings(data).items()}


def _build(data: DataSettings, name: str, settings: HeatmapSourceSettings) -> MapSource:
    path, kind = Path(settings.path), _kind_of(name, settings)
    missing, inout = settings.missing or data.missing, settings.inout or data.heatmap_inout
    if kind == "store":
        return StoreMaps(path, settings, missing=missing, inout=inout)
    if settings.shows == "head_box":
        raise UsageError(
            f"The heatmap source {name!r} shows head boxes, but {path} is no store: only stores have them.",
            hint=f"Set experiment.data.heatmap_sources.{name}.path to the store, or shows: gaze.",
        )
    if kind == "gaze_points":
        points = settings.points
        sized = points.sigma_pixels is not None or points.sigma_degrees is not None
        if sized and view_of(data, settings) is not None and points.points_size is None:
            raise UsageError(
                f"The gaze points {path} are of another view, whose size in pixels is not known for sigma.",
                hint=f"Set points.points_size of the heatmap source {name!r}.",
            )
        return PointMaps(path, points, missing=missing, inout=inout)
    return DatasetMaps(path, missing=missing, inout=inout, frame_tolerance=data.heatmap_frame_tolerance)


def _kind_of(name: str, settings: HeatmapSourceSettings) -> SourceKind:
    path = Path(settings.path)
    if not path.exists():
        key = "heatmap_base_path" if name == PRIMARY_SOURCE else f"heatmap_sources.{name}.path"
        raise UsageError(f"The heatmap folder {path} does not exist.", hint=f"Set experiment.data.{key}, or pack one.")
    return _kind(path) if settings.kind == "auto" else settings.kind


def _kind(path: Path) -> SourceKind:
    if path.is_file():
        if path.suffix.lower() != ".csv":
            raise UsageError(
                f"The heatmaps {path} are a file; only gaze points (.csv) are one file.",
                hint="Pass the folder that holds the heatmaps.",
            )
        return "gaze_points"
    if (path / MANIFEST_NAME).exists():
        return "dataset"
    suffixes = {entry.suffix for entry in islice(path.rglob("*"), _LOOKED_AT)}
    return "store" if STORE_SUFFIX in suffixes else "gaze_points" if ".csv" in suffixes else "dataset"
