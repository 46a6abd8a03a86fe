"""The table of layouts, and the layout of an existing file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from gazetools.layouts.base import Layout, PackedLayout
from gazetools.layouts.foreign import (
    UNREAD_FORMATS,
    ForeignFrames,
    ForeignLayout,
    ForeignNpy,
    ForeignNpz,
    UnreadFormat,
)
from gazetools.layouts.foreign_tensors import ForeignPt, ForeignZarr
from gazetools.layouts.hdf5 import Hdf5Layout
from gazetools.layouts.huggingface import HuggingFaceLayout
from gazetools.layouts.npy import NpyFolder
from gazetools.layouts.npz import NpzLayout
from gazetools.layouts.webdataset import WebDatasetLayout
from gazetools.schemas.dataset import LAYOUT_NAMES
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.foreign import ArrayChoice


def _unread(suffix: str, why: str) -> Callable[[ArrayChoice], ForeignLayout]:
    return lambda choice: UnreadFormat(suffix, why)


LAYOUTS: dict[str, PackedLayout] = {
    "npz": NpzLayout(),
    "npy": NpyFolder(),
    "hdf5": Hdf5Layout(),
    "webdataset": WebDatasetLayout(),
    "hf": HuggingFaceLayout(),
}
"""The layouts by name; `schemas.dataset.LAYOUT_NAMES` has the same names for settings."""
FOREIGN: dict[str, Callable[[ArrayChoice], ForeignLayout]] = {
    "": ForeignFrames,
    ".npz": ForeignNpz,
    ".npy": ForeignNpy,
    **{suffix: partial(ForeignPt, suffix=suffix) for suffix in (".pt", ".pth")},
    **{suffix: partial(ForeignZarr, suffix=suffix) for suffix in (".zarr", ".zarr.zip")},
    **{suffix: _unread(suffix, why) for suffix, why in UNREAD_FORMATS.items()},
}
"""Suffix (empty for a folder of frames) -> the layout of other tools' heatmaps, which no manifest describes."""


def register(name: str, layout: PackedLayout) -> None:
    """Add a layout from outside the package for every command. Raises ValueError where name or suffix are taken."""
    if layout.suffix in {other.suffix for other in LAYOUTS.values()} | {".npy"}:
        raise ValueError(f"the suffix {layout.suffix!r} is taken by another layout")
    LAYOUT_NAMES.add(name)
    LAYOUTS[name] = layout


def layout_at(path: Path) -> Layout:
    """The layout of the existing file or folder `path`; `npz` where no layout has its suffix."""
    suffix = "" if path.is_dir() else path.suffix
    return next((layout for layout in LAYOUTS.values() if layout.suffix == suffix), LAYOUTS["npz"])


def foreign_layout(path: Path, choice: ArrayChoice) -> ForeignLayout:
    """The layout of another tool's file or folder `path`, read by `choice`. DataFileError for other suffixes."""
    suffix = foreign_suffix(path)
    if suffix not in FOREIGN:
        raise DataFileError(
            f"{path} is neither a store file nor in a manifest, nor an .npz, .npy, .pt or .zarr of another tool."
        )
    return FOREIGN[suffix](choice.chosen)


def foreign_suffix(path: Path) -> str:
    """Key of FOREIGN for another tool's file or folder: a suffix in lower case, or the empty text for a folder."""
    name = path.name.lower()
    if found := next((suffix for suffix in (".zarr.zip", ".zarr") if name.endswith(suffix)), None):
        return found
    return "" if path.is_dir() else path.suffix.lower()


def layout_named(video_id: str, file: str) -> Layout | None:
    """The layout in which the video is stored as `file` (relative to the dataset); None where there is none."""
    return next((layout for layout in LAYOUTS.values() if file == video_id + layout.suffix), None)
