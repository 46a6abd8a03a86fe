"""Heatmaps of a packed dataset: which videos have them, and the maps of one clip's frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps import HeatmapReader
from gazetools.heatmaps.people import weight
from gazetools.io.open_files import OpenFiles
from gazetools.layouts.locate import locate, raw_manifest
from gazetools.sampling import nearest_indices
from gazetools.schemas.dataset import MANIFEST_NAME
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.training import InOutUse, MissingPolicy
from gazetools.trainer.data.maps.base import ClipFramesAsked, ClipHeatmaps, HeatmapSurvey, KnownMaps, survey_videos

_OPEN_READERS = 32


class DatasetMaps:
    """Maps from the folder `dataset`; the readers of the last 32 videos stay open.

    Args:
        missing: policy for clips without maps; a numbered frame that is missing is an error with `error`, else zeros.
        inout: how the in/out probability is used.
        frame_tolerance: by how many frames maps without times may differ from the video in number.
        choice: array, axes and first number of another tool's heatmaps, where the rule leaves them open.
    """

    def __init__(
        self,
        dataset: Path,
        *,
        missing: MissingPolicy = "zero",
        inout: InOutUse = "keep",
        frame_tolerance: int = 1,
        choice: ArrayChoice | None = None,
    ) -> None:
        self.dataset = dataset
        self.missing = missing
        self.inout = inout
        self.frame_tolerance = frame_tolerance
        self._choice = choice
        self._readers: OpenFiles[str, HeatmapReader] = OpenFiles(_OPEN_READERS)

    def survey(self, video_ids: Iterable[str]) -> HeatmapSurvey:
        """What the dataset has for these videos; UsageError where it is no folder or its manifest cannot be read."""
        if not self.dataset.is_dir():
            raise UsageError(
                f"The heatmap folder {self.dataset} does not exist.",
                hint="Set experiment.data.heatmap_base_path, or pack one.",
            )
        return survey_videos(video_ids, self._inspect)

    def _inspect(self, video_id: str) -> KnownMaps | None:
        location = locate(self.dataset, video_id, self._choice)
        if location is None:
            return None
        with HeatmapReader(self.dataset, video_id, choice=self._choice) as reader:
            has_inout = reader.inout is not None and not np.isnan(reader.inout).all()
        entry = location.entry
        content, uses_future = (None, False) if entry is None else (entry.sha256, entry.uses_future)
        return KnownMaps(content=content, has_inout=has_inout, uses_future=uses_future)

    def maps_of(self, video_id: str, asked: ClipFramesAsked) -> ClipHeatmaps:
        """Maps of the frames asked for.

        With as many maps as the video has frames, those of the same indices. Otherwise the maps nearest in time, none
        at or after the end; without times the numbers must agree up to the tolerance. DataFileError where neither fits.
        """
        missing: Literal["error", "zero"] = "error" if self.missing == "error" else "zero"
        reader = self._readers.get(video_id, lambda: self._open(video_id, missing))
        rows = self._rows(reader, asked)
        maps = reader.read(rows)
        if not np.isfinite(maps).all():
            message = f"The heatmaps of {video_id!r} hold numbers that are not finite."
            raise DataFileError(message, hint="Run gazetools validate on them.")
        weights = None if reader.inout is None else weight(reader.inout[rows], self.inout)
        if weights is not None:
            maps = maps * weights[:, None, None]
        return ClipHeatmaps(maps_thw=maps, invalid_frames=int((~reader.valid[rows]).sum()))

    def _open(self, video_id: str, missing: Literal["error", "zero"]) -> HeatmapReader:
        return HeatmapReader(self.dataset, video_id, missing=missing, choice=self._choice)

    def _rows(self, reader: HeatmapReader, asked: ClipFramesAsked) -> npt.NDArray[np.int64]:
        count, frames, pts = len(reader), asked.indices, asked.video_pts_seconds
        if count == len(pts):
            return frames
        times = reader.pts_seconds
        if times is not None and count and np.isfinite(times).all() and (np.diff(times) > 0).all():
            # Both clocks from their video's first frame.
            times = times - (pts[0] if asked.same_video else self._first_frame_seconds(times))
            usable = int(np.searchsorted(times, asked.end_seconds, side="left"))
            if usable == 0:
                raise DataFileError(f"{reader!r} has no map before {asked.end_seconds:.3f} s.")
            return np.minimum(nearest_indices(times, pts[frames] - pts[0]), usable - 1)
        if count and abs(count - len(pts)) <= self.frame_tolerance:
            return np.minimum(frames, count - 1)
        last = ", as many as its last axis has" if reader.shape[2] == len(pts) else ""
        raise DataFileError(
            f"{reader!r} has {count} maps without usable times, its video has {len(pts)} frames{last}.",
            hint="Set experiment.data.heatmap_axes, such as HWT for maps [H,W,T]."
            if last
            else "Pack it with --align video, or raise experiment.data.heatmap_frame_tolerance if you know why.",
        )

    def _first_frame_seconds(self, times: npt.NDArray[np.float64]) -> float:
        """Time of the other camera's first frame: that of the first row, or 0 where only processed frames have rows."""
        if not (self.dataset / MANIFEST_NAME).exists():
            return float(times[0])
        options = raw_manifest(self.dataset).get("options", {})
        return float(times[0]) if options.get("align") == "video" else 0.0
