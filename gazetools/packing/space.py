"""Is there room for a packed video: bytes, files, and no folder of another video in its way."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gazetools.io.space import blocks, check_space
from gazetools.schemas.dataset import MANIFEST_NAME, LayoutName
from gazetools.schemas.errors import UsageError

_HEADER_BYTES = 128
"""Of a .npy file."""
_OTHER_FILES = 2
"""The video's other members or origin, and its folder."""


def refuse_nested_folders(video_ids: set[str]) -> None:
    """In the npy layout a video is a folder; replacing one must not take another with it."""
    for video_id in sorted(video_ids):
        outer = {str(parent) for parent in PurePosixPath(video_id).parents} & video_ids
        if outer or video_id.casefold() == MANIFEST_NAME:
            raise UsageError(
                f"The frame folder of {video_id!r} would lie in the way of {min(outer, default=MANIFEST_NAME)!r}.",
                hint="Use --layout npz.",
            )


def check_space_for_maps(target: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], layout: LayoutName) -> None:
    """Refuse before writing what the disk has no room for: maps [T, H, W], each in a file of its own for npy."""
    frames, map_bytes = shape[0], math.prod(shape[1:]) * dtype.itemsize
    single_files = layout == "npy"
    check_space(
        target.parent,
        needed_bytes=frames * (blocks(map_bytes + _HEADER_BYTES) if single_files else map_bytes),
        needed_files=(frames if single_files else 1) + _OTHER_FILES,
        what=str(target),
        hint="Free some space, or choose a smaller --size or --dtype; finished videos are kept.",
        files_hint="Use --layout npz: one file per video."
        if single_files
        else "Remove some files, or choose another -o; finished videos are kept.",
    )
