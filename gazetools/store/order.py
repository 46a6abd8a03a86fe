"""Whether the frames and rows of a store file are in order and fit each other."""

from __future__ import annotations

import numpy as np

from gazetools.schemas.errors import DataFileError
from gazetools.store.reader import StoreReader


def check_order(store: StoreReader) -> None:
    """DataFileError where frames are not ascending, lie outside the video, or rows are of frames not processed."""
    index, pts = store.frames.index, store.frames.pts_seconds
    count = store.provenance.video.frame_count
    problem = None
    if (np.diff(index) <= 0).any():
        problem = "frames/index is not ascending"
    elif len(index) and (index[0] < 0 or index[-1] >= count):
        problem = f"frames/index reaches {index[-1]}, but the video has {count} frames"
    elif not np.isfinite(pts).all() or (np.diff(pts) < 0).any():
        problem = "frames/pts_seconds is not ascending"
    elif (np.diff(store.row_frame) < 0).any():
        problem = "rows/frame is not ascending"
    elif not np.isin(store.row_frame, index).all():
        problem = "rows/frame names frames that were not processed"
    if problem:
        raise DataFileError(
            f"{store.path}: {problem}.", hint="Run gazetools validate, then extract this video again with --overwrite."
        )
