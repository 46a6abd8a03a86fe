"""Is there room for a packed video: bytes, files, and no folder of another video in its way."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gazetools.schemas.dataset import MANIFEST_NAME, Layout
from gazetools.schemas.errors import FaultError, UsageError


def refuse_nested_folders(video_ids: set[str]) -> None:
    """In the npy layout a video is a folder; replacing one must not take another with it."""
    for video_id in sorted(video_ids):
        outer = {str(parent) for parent in PurePosixPath(video_id).parents} & video_ids
        if outer or video_id.casefold() == MANIFEST_NAME:
            raise UsageError(
                f"The frame folder of {video_id!r} would lie in the way of {min(outer, default=MANIFEST_NAME)!r}.",
                hint="Use --layout npz.",
            )


def check_space(target: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], layout: Layout) -> None:
    """Refuse before writing what the disk has no room for: bytes, and files in the npy layout."""
    needed = math.prod(shape) * dtype.itemsize
    folder = next(parent for parent in target.parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FaultError(
            f"{target} needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free.",
            hint="Free some space, or choose a smaller --size or --dtype; finished videos are kept.",
        )
    status = os.statvfs(folder)
    if layout == "npy" and status.f_files and status.f_favail < shape[0] + 2:
        raise FaultError(
            f"{target} needs {shape[0] + 1} files, the file system has {status.f_favail} left.",
            hint="Use --layout npz: one file per video.",
        )
