"""The table of layouts, and the layout of an existing file."""

from __future__ import annotations

from pathlib import Path

from gazetools.layouts.base import Layout
from gazetools.layouts.hdf5 import Hdf5Layout
from gazetools.layouts.npy import NpyArray, NpyFolder
from gazetools.layouts.npz import NpzLayout
from gazetools.schemas.dataset import LAYOUT_NAMES

ARRAY = NpyArray()
"""Heatmaps of other tools in one .npy. It is no layout of a dataset."""
LAYOUTS: dict[str, Layout] = {"npz": NpzLayout(), "npy": NpyFolder(), "hdf5": Hdf5Layout()}
"""The layouts by name; `schemas.dataset.LAYOUT_NAMES` has the same names for settings."""
FOREIGN_LAYOUTS = (LAYOUTS["npz"], LAYOUTS["npy"], ARRAY)
"""Layouts of other tools' heatmaps, which no manifest describes."""


def register(name: str, layout: Layout) -> None:
    """Add a layout from outside the package for every command. Raises ValueError where name or suffix are taken."""
    if layout.suffix in {other.suffix for other in (*LAYOUTS.values(), ARRAY)}:
        raise ValueError(f"the suffix {layout.suffix!r} is taken by another layout")
    LAYOUT_NAMES.add(name)
    LAYOUTS[name] = layout


def layout_at(path: Path) -> Layout:
    """The layout of the existing file or folder `path`; `npz` where no layout has its suffix."""
    suffix = "" if path.is_dir() else path.suffix
    return next((layout for layout in (*LAYOUTS.values(), ARRAY) if layout.suffix == suffix), LAYOUTS["npz"])


def layout_named(video_id: str, file: str) -> Layout | None:
    """The layout in which the video is stored as `file` (relative to the dataset); None where there is none."""
    return next((layout for layout in LAYOUTS.values() if file == video_id + layout.suffix), None)
