"""The table of heatmap sources by kind, and the sources of a config by name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from gazetools.io.find_files import SearchNotes, walk
from gazetools.schemas.dataset import MANIFEST_NAME
from gazetools.schemas.errors import UsageError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.training import DataSettings
from gazetools.schemas.training_data import (
    HOW_TO_KEEP_TOKENS,
    PRIMARY_SOURCE,
    SOURCE_KINDS,
    TOKEN_SOURCE,
    HeatmapSourceSettings,
)
from gazetools.trainer.data.maps.base import MapSource, WantedSource
from gazetools.trainer.data.maps.dataset import DatasetMaps
from gazetools.trainer.data.maps.points import PointMaps
from gazetools.trainer.data.maps.store import StoreMaps
from gazetools.trainer.data.maps.tokens import StoreTokens

_LISTED = 10_000
"""Entries of a folder whose names decide its kind; folders of single frames may hold millions."""


SOURCES: dict[str, Callable[[WantedSource], MapSource]] = {
    "dataset": lambda wanted: DatasetMaps(
        wanted.path,
        missing=wanted.missing,
        inout=wanted.inout,
        frame_tolerance=wanted.data.heatmap_frame_tolerance,
        choice=wanted.choice if is_foreign(wanted.path, "dataset") else None,
    ),
    "store": lambda wanted: StoreMaps(wanted.path, wanted.settings, missing=wanted.missing, inout=wanted.inout),
    "gaze_points": PointMaps.from_config,
    TOKEN_SOURCE: StoreTokens,
}
"""Kind of source -> what builds it."""


def register(kind: str, build: Callable[[WantedSource], MapSource]) -> None:
    """Add a kind of source from outside the package. Raises ValueError where the name is taken."""
    SOURCE_KINDS.add(kind)
    SOURCES[kind] = build


def source_settings(data: DataSettings) -> dict[str, WantedSource]:
    """Every source of a config by name, its own keys before those of all; models that name no source see the first.

    Scene tokens, where there are any, come last.
    """
    if not data.use_heatmap:
        return {}
    own = {PRIMARY_SOURCE: HeatmapSourceSettings(path=data.heatmap_base_path)} if data.heatmap_base_path else {}
    wanted = {
        name: WantedSource(
            name=name,
            path=Path(settings.path),
            missing=settings.missing or data.missing,
            inout=settings.inout or data.heatmap_inout,
            choice=ArrayChoice(
                key=settings.key or data.heatmap_key,
                axes=settings.axes or data.heatmap_axes,
                first_frame=data.heatmap_first_frame if settings.first_frame is None else settings.first_frame,
            ),
            view=data.heatmap_view if settings.view is None else settings.view,
            settings=settings,
            data=data,
        )
        for name, settings in {**own, **data.heatmap_sources}.items()
    }
    if (tokens := data.gaze_tokens) is not None:
        wanted[TOKEN_SOURCE] = WantedSource(
            name=TOKEN_SOURCE,
            path=Path(tokens.store),
            missing=data.missing,
            inout="keep",
            choice=ArrayChoice(),
            view=None,
            settings=HeatmapSourceSettings(path=tokens.store, people=tokens.people),
            data=data,
        )
    return wanted


def source_kinds(data: DataSettings) -> dict[str, str]:
    """Kind of every source of a run, by name; UsageError where a path does not exist or its kind is not clear."""
    return {name: _kind_of(wanted) for name, wanted in source_settings(data).items()}


def build_sources(data: DataSettings) -> dict[str, MapSource]:
    """The sources of a run by name; UsageError where a path does not exist or its kind is not clear."""
    kinds = source_kinds(data)
    for name, wanted in source_settings(data).items():
        if wanted.settings.shows == "head_box" and kinds[name] != "store":
            raise UsageError(
                f"The heatmap source {name!r} shows head boxes, but {wanted.path} is no store: only stores have them.",
                hint=f"Set experiment.data.heatmap_sources.{name}.path to the store, or shows: gaze.",
            )
    return {name: SOURCES[kinds[name]](wanted) for name, wanted in source_settings(data).items()}


def is_foreign(path: Path, kind: str) -> bool:
    """Whether a source of this kind is a folder of another tool's heatmaps, for which `choice` means something."""
    return kind == "dataset" and not (path / MANIFEST_NAME).exists()


def _kind_of(wanted: WantedSource) -> str:
    """The kind that the config names, else the one that file or folder looks like."""
    path = wanted.path
    if not path.exists():
        made = f"make it: {HOW_TO_KEEP_TOKENS}" if wanted.name == TOKEN_SOURCE else "pack one"
        raise UsageError(f"The heatmap folder {path} does not exist.", hint=f"Set {wanted.key}, or {made}.")
    if wanted.name == TOKEN_SOURCE:
        return TOKEN_SOURCE
    if wanted.settings.kind != "auto":
        return wanted.settings.kind
    if path.is_file():
        if path.suffix.lower() != ".csv":
            raise UsageError(
                f"The heatmaps {path} are a file; only gaze points (.csv) are one file.",
                hint="Pass the folder that holds the heatmaps.",
            )
        return "gaze_points"
    if (path / MANIFEST_NAME).exists():
        return "dataset"
    suffixes = {entry.suffix.lower() for entry in islice(walk(path, SearchNotes()), _LISTED)}
    return "store" if STORE_SUFFIX in suffixes else "gaze_points" if ".csv" in suffixes else "dataset"
