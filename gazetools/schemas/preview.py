"""Options of `preview` that say how its inputs are read."""

from __future__ import annotations

from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.picture_times import PictureTimes


class PreviewOptions(ArrayChoice, PictureTimes):
    """How another tool's heatmaps, and a folder of frames, are read."""
