"""The file or folder of pictures that is shown as one video, and how it is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gazetools.schemas.errors import VideoError
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.video import HdrRule
from gazetools.video import VideoReader


@dataclass(frozen=True, kw_only=True)
class ShownVideo:
    """Where a video is, and how its heatmaps' model saw it."""

    path: Path | None
    problem: str = ""
    """Where it was looked for; empty where it is there."""
    stream_index: int | None = None
    hdr: HdrRule = "tonemap"
    times: PictureTimes = field(default_factory=PictureTimes)
    """When the pictures of a folder were taken; a file has its own times."""

    def open(self, *, threads: int = 0) -> VideoReader:
        """A reader of its frames. Raises VideoError where it is missing or can't be opened."""
        if self.path is None:
            raise VideoError(self.problem)
        return VideoReader(
            self.path, stream_index=self.stream_index, hdr=self.hdr, threads=threads, **self.times.for_reader()
        )
