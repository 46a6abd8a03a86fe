"""What every source of heatmaps for training offers: `MapSource`, its survey of videos, the maps of a clip's frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import DataFileError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.training import DataSettings, InOutUse, MissingPolicy
from gazetools.schemas.training_data import PRIMARY_SOURCE, TOKEN_SOURCE, HeatmapSourceSettings


@dataclass(frozen=True, kw_only=True)
class KnownMaps:
    """What is known of the maps of one video."""

    content: str | None
    """sha256 of what the maps are made of, as manifest or sidecar state it; None: not stated (other tools' files)."""
    has_inout: bool = True
    """Whether the maps have an in/out probability."""
    uses_future: bool = False
    """Whether gaps were filled from later frames, which would show the future."""


@dataclass(frozen=True, kw_only=True)
class HeatmapSurvey:
    """What a source has for the videos of a training set."""

    present: frozenset[str]
    missing: tuple[str, ...]
    broken: dict[str, str] = field(default_factory=dict)
    """Video id -> what is wrong with its file."""
    uses_future: tuple[str, ...] = ()
    """Videos whose gaps were filled from later frames."""
    without_inout: tuple[str, ...] = ()
    """Videos whose maps have no in/out probability, so that gating and weighting leave them as they are."""
    contents: dict[str, str] = field(default_factory=dict)
    """Video id -> sha256 of what its maps are made of, where it is stated."""


def survey_videos(video_ids: Iterable[str], inspect: Callable[[str], KnownMaps | None]) -> HeatmapSurvey:
    """Call `inspect` once for every video: None means missing, a DataFileError means broken."""
    found: dict[str, KnownMaps | None] = {}
    broken: dict[str, str] = {}
    for video_id in sorted(set(video_ids)):
        try:
            found[video_id] = inspect(video_id)
        except DataFileError as error:
            broken[video_id] = str(error)
    known = {video_id: maps for video_id, maps in found.items() if maps is not None}
    return HeatmapSurvey(
        present=frozenset(known),
        missing=tuple(video_id for video_id, maps in found.items() if maps is None),
        broken=broken,
        uses_future=tuple(video_id for video_id, maps in known.items() if maps.uses_future),
        without_inout=tuple(video_id for video_id, maps in known.items() if not maps.has_inout),
        contents={video_id: maps.content for video_id, maps in known.items() if maps.content is not None},
    )


@dataclass(frozen=True, kw_only=True)
class ClipFramesAsked:
    """The frames of a clip for which maps are wanted."""

    indices: npt.NDArray[np.int64]
    """[n] Frames of the clip's video."""
    video_pts_seconds: npt.NDArray[np.float64]
    """[N] Times of all frames of the clip's video."""
    end_seconds: float
    """No map at or after this time, counted from the video's first frame."""
    frame_hw: tuple[int, int]
    same_video: bool = True
    """False: the maps are of another camera of the take, which started at the same moment."""


@dataclass(frozen=True, kw_only=True)
class ClipHeatmaps:
    """The maps of one clip."""

    maps_thw: npt.NDArray[np.float32]
    """float32 [n, h, w] in 0..1, of the whole frame; scene tokens: [n, G, G * C], the C channels of a cell in a row."""
    invalid_frames: int
    """How many of them stand for frames without a map of their own."""


class MapSource(Protocol):
    """A source of heatmaps. It can be pickled and opens its files in each process."""

    missing: MissingPolicy

    def survey(self, video_ids: Iterable[str]) -> HeatmapSurvey:
        """What the source has for these videos."""

    def maps_of(self, video_id: str, asked: ClipFramesAsked) -> ClipHeatmaps:
        """Maps of the frames asked for; DataFileError where they do not fit or cannot be read."""


@dataclass(frozen=True, kw_only=True)
class WantedSource:
    """One heatmap source as the config asks for it, from which `MapSource`s are built."""

    name: str
    path: Path
    """Folder or file of the maps."""
    missing: MissingPolicy
    """The policy for clips without maps."""
    inout: InOutUse
    """The use of the in/out probability."""
    choice: ArrayChoice
    """Array, axes and first number of another tool's heatmaps."""
    view: str | None
    """Camera of the maps; None: the video's own."""
    settings: HeatmapSourceSettings
    data: DataSettings

    @property
    def key(self) -> str:
        """The config key that names its path."""
        own = {PRIMARY_SOURCE: "heatmap_base_path", TOKEN_SOURCE: "gaze_tokens.store"}
        return f"experiment.data.{own.get(self.name, f'heatmap_sources.{self.name}.path')}"
