"""Heatmaps of a packed dataset for clips: which videos have them, and the maps of one clip's frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps import HeatmapReader
from gazetools.heatmaps.people import weight
from gazetools.io.open_files import OpenFiles
from gazetools.layouts.locate import locate, raw_manifest
from gazetools.sampling import nearest_indices
from gazetools.schemas.dataset import MANIFEST_NAME
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
    without_inout: tuple[str, ...] = ()
    """Videos whose maps have no in/out probability, so that gating and weighting leave them as they are."""
    contents: dict[str, str] = field(default_factory=dict)
    """Video id -> sha256 of what its maps are made of, as manifest or sidecar say it; other tools' files say none."""


@dataclass(frozen=True, kw_only=True)
class ClipFramesAsked:
    """The frames of a clip for which maps are wanted."""

    indices: npt.NDArray[np.int64]
    """[n] frames of the clip's video."""
    video_pts_seconds: npt.NDArray[np.float64]
    """[N] of all frames of the clip's video."""
    end_seconds: float
    """No map at or after this time, counted from the video's first frame."""
    frame_hw: tuple[int, int]
    same_video: bool = True
    """False: the maps are of another camera of the take, which started at the same moment."""


def survey_heatmaps(dataset: Path, video_ids: Iterable[str]) -> HeatmapSurvey:
    """Open every video's heatmaps once; a broken file is told apart from a missing one.

    Raises UsageError where `dataset` is no folder or its manifest cannot be read.
    """
    if not dataset.is_dir():
        raise UsageError(
            f"The heatmap folder {dataset} does not exist.", hint="Set experiment.data.heatmap_base_path, or pack one."
        )
    present, missing, future, without_inout = set(), [], [], []
    broken: dict[str, str] = {}
    contents: dict[str, str] = {}
    for video_id in sorted(set(video_ids)):
        try:
            location = locate(dataset, video_id)
            if location is None:
                missing.append(video_id)
                continue
            with HeatmapReader(dataset, video_id) as reader:
                if reader.inout is None or np.isnan(reader.inout).all():
                    without_inout.append(video_id)
        except DataFileError as error:
            broken[video_id] = error.message
            continue
        present.add(video_id)
        if location.entry is not None:
            contents[video_id] = location.entry.sha256
            if location.entry.uses_future:
                future.append(video_id)
    return HeatmapSurvey(
        present=frozenset(present),
        missing=tuple(missing),
        broken=broken,
        uses_future=tuple(future),
        without_inout=tuple(without_inout),
        contents=contents,
    )


@dataclass(frozen=True, kw_only=True)
class ClipHeatmaps:
    """The maps of one clip."""

    maps_thw: npt.NDArray[np.float32]
    """float32 [n, h, w] in 0..1, of the whole frame."""
    invalid_frames: int
    """How many of them stand for frames without a map of their own."""


class MapSource(Protocol):
    """What a clip needs of any source of heatmaps. Sources can be pickled and open their files in each process."""

    missing: MissingPolicy

    def survey(self, video_ids: Iterable[str]) -> HeatmapSurvey:
        """What there is for these videos."""

    def maps_of(self, video_id: str, asked: ClipFramesAsked) -> ClipHeatmaps:
        """Maps of the frames asked for; DataFileError where they do not fit or cannot be read."""


class DatasetMaps:
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
        self._readers: OpenFiles[str, HeatmapReader] = OpenFiles(_OPEN_READERS)

    def survey(self, video_ids: Iterable[str]) -> HeatmapSurvey:
        """See MapSource."""
        return survey_heatmaps(self.dataset, video_ids)

    def maps_of(self, video_id: str, asked: ClipFramesAsked) -> ClipHeatmaps:
        """See MapSource.

        As many maps as frames: the same indices. Otherwise the maps nearest in time, none at or after the end; without
        times the numbers must agree up to the tolerance. Raises DataFileError where neither fits.
        """
        reader = self._reader(video_id)
        rows = self._rows(reader, asked)
        maps = reader.read(rows)
        if not np.isfinite(maps).all():
            raise DataFileError(
                f"The heatmaps of {video_id!r} hold numbers that are not finite.",
                hint="Run gazetools validate on them.",
            )
        weights = None if reader.inout is None else weight(reader.inout[rows], self.inout)
        if weights is not None:
            maps = maps * weights[:, None, None]
        return ClipHeatmaps(maps_thw=maps, invalid_frames=int((~reader.valid[rows]).sum()))

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
        raise DataFileError(
            f"{reader!r} has {count} maps without usable times, its video has {len(pts)} frames.",
            hint="Pack it with --align video, or raise experiment.data.heatmap_frame_tolerance if you know why.",
        )

    def _first_frame_seconds(self, times: npt.NDArray[np.float64]) -> float:
        """Time of the other camera's first frame: that of the first row, unless rows are only the processed frames."""
        if not (self.dataset / MANIFEST_NAME).exists():
            return float(times[0])
        options = raw_manifest(self.dataset).get("options", {})
        return float(times[0]) if options.get("align") == "video" else 0.0

    def _reader(self, video_id: str) -> HeatmapReader:
        return self._readers.get(
            video_id,
            lambda: HeatmapReader(self.dataset, video_id, missing="error" if self.missing == "error" else "zero"),
        )
