"""The file or folder of pictures that is shown as one video, and how it is opened."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

from gazetools.schemas.errors import VideoError
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.video import HdrRule
from gazetools.video import VideoReader
from gazetools.viewer.file_stamp import FileStamp, stamp_of


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

    stamp: FileStamp | None = None
    """That of the file when it was found; None: there is none."""

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Equal for videos whose pictures and times are the same."""
        return self.path, self.stamp, self.stream_index, self.hdr, self.times.model_dump_json()

    def is_as_found(self) -> bool:
        """Whether the file is still the one that was found."""
        return self.path is not None and stamp_of(self.path) == self.stamp

    def open(self, *, threads: int = 0) -> VideoReader:
        """A reader of its frames. Raises VideoError where it is missing or can't be opened."""
        if self.path is None:
            raise VideoError(self.problem)
        return VideoReader(
            self.path, stream_index=self.stream_index, hdr=self.hdr, threads=threads, **self.times.for_reader()
        )
