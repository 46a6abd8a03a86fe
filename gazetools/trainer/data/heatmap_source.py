"""Heatmaps of the videos of a training set: which exist, and those of one clip's frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps import HeatmapReader
from gazetools.heatmaps.locate import locate
from gazetools.sampling import nearest_indices
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.schemas.training import InOutUse, MissingPolicy

_OPEN_READERS = 32


@dataclass(frozen=True, kw_only=True)
class HeatmapSurvey:
    """What a dataset has for the videos of a training set."""

    present: frozenset[str]
    missing: tuple[str, ...]
    broken: dict[str, str] = field(default_factory=dict)
    """Video id -> what is wrong with its file."""
    uses_future: tuple[str, ...] = ()
    """Videos whose gaps were filled from later frames (PITFALLS 41)."""


def survey_heatmaps(dataset: Path, video_ids: Iterable[str]) -> HeatmapSurvey:
    """Open every video's heatmaps once; a broken file is told apart from a missing one.

    Raises UsageError where `dataset` is no folder or its manifest cannot be read.
    """
    if not dataset.is_dir():
        raise UsageError(
            f"The heatmap folder {dataset} does not exist.", hint="Set experiment.data.heatmap_base_path, or pack one."
        )
    present, missing, future = set(), [], []
    broken: dict[str, str] = {}
    for video_id in sorted(set(video_ids)):
        try:
            location = locate(dataset, video_id)
            if location is None:
                missing.append(video_id)
                continue
            HeatmapReader(dataset, video_id).close()
        except DataFileError as error:
            broken[video_id] = error.message
            continue
        present.add(video_id)
        if location.entry is not None and location.entry.uses_future:
            future.append(video_id)
    return HeatmapSurvey(present=frozenset(present), missing=tuple(missing), broken=broken, uses_future=tuple(future))


@dataclass(frozen=True, kw_only=True)
class ClipHeatmaps:
    """The maps of one clip."""

    maps_thw: npt.NDArray[np.float32]
    """float32 [n, h, w] in 0..1, of the whole frame."""
    invalid_frames: int
    """How many of them stand for frames without a map of their own."""


class HeatmapSource:
    """Reads clips' heatmaps from a dataset; keeps the readers of the last 32 videos open. Can be pickled.

    Args:
        dataset: folder of heatmaps.
        missing: the policy; a numbered frame that is missing is an error with `error`, else a zero map.
        inout: how the in/out probability is used.
        frame_tolerance: by how many frames maps without times may differ from the video in number.
    """

    def __init__(
        self, dataset: Path, *, missing: MissingPolicy = "zero", inout: InOutUse = "keep", frame_tolerance: int = 1
    ) -> None:
        self.dataset = dataset
        self.missing = missing
        self.inout = inout
        self.frame_tolerance = frame_tolerance
        self._readers: OrderedDict[str, HeatmapReader] = OrderedDict()

    def read(
        self,
        video_id: str,
        frame_indices: npt.NDArray[np.int64],
        video_pts_seconds: npt.NDArray[np.float64],
        *,
        observation_end_seconds: float,
    ) -> ClipHeatmaps:
        """Maps for the frames `frame_indices` of the video whose frames have `video_pts_seconds` [N].

        As many maps as frames: the same indices. Otherwise the maps nearest in time, none at or after
        `observation_end_seconds` (counted from the video's first frame); without times the numbers must agree up to
        the tolerance. Raises DataFileError where neither fits.
        """
        reader = self._reader(video_id)
        rows = self._rows(reader, frame_indices, video_pts_seconds, observation_end_seconds)
        maps = reader.read(rows)
        if not np.isfinite(maps).all():
            raise DataFileError(
                f"The heatmaps of {video_id!r} hold numbers that are not finite.",
                hint="Run gazetools validate on them.",
            )
        if self.inout != "keep" and reader.inout is not None:
            inside = np.nan_to_num(reader.inout[rows], nan=1.0)
            maps = maps * (inside >= 0.5 if self.inout == "gate" else inside)[:, None, None].astype(np.float32)
        return ClipHeatmaps(maps_thw=maps, invalid_frames=int((~reader.valid[rows]).sum()))

    def _rows(
        self, reader: HeatmapReader, frames: npt.NDArray[np.int64], pts: npt.NDArray[np.float64], end_seconds: float
    ) -> npt.NDArray[np.int64]:
        count = len(reader)
        if count == len(pts):
            return frames
        times = reader.pts_seconds
        if times is not None and count and np.isfinite(times).all() and (np.diff(times) > 0).all():
            usable = int(np.searchsorted(times - pts[0], end_seconds, side="left"))
            if usable == 0:
                raise DataFileError(f"{reader!r} has no map before {end_seconds:.3f} s.")
            return np.minimum(nearest_indices(times, pts[frames]), usable - 1)
        if count and abs(count - len(pts)) <= self.frame_tolerance:
            return np.minimum(frames, count - 1)
        raise DataFileError(
            f"{reader!r} has {count} maps without usable times, its video has {len(pts)} frames.",
            hint="Pack it with --align video, or raise experiment.data.heatmap_frame_tolerance if you know why.",
        )

    def _reader(self, video_id: str) -> HeatmapReader:
        if video_id in self._readers:
            self._readers.move_to_end(video_id)
            return self._readers[video_id]
        reader = HeatmapReader(self.dataset, video_id, missing="error" if self.missing == "error" else "zero")
        self._readers[video_id] = reader
        if len(self._readers) > _OPEN_READERS:
            self._readers.popitem(last=False)[1].close()
        return reader
