"""The protocol of an open video, decoded in this process or in one that can be killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from gazetools.schemas.video import Frame, VideoInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class VideoSource(Protocol):
    """An open video. `gazetools.video.VideoReader` is one, the reader of a decoding process another."""

    @property
    def info(self) -> VideoInfo: ...

    @property
    def pts_seconds(self) -> npt.NDArray[np.float64]:
        """Time of each frame, float64 [frame_count], ascending; frame 0 need not be at 0."""

    @property
    def frame_count(self) -> int:
        """Number of frames that decode; never the container's claim."""

    @property
    def damage(self) -> tuple[str, ...]:
        """Reasons why the file is not whole; empty where nothing is known against it."""

    def frames(self, indices: npt.NDArray[np.int64], /) -> Iterator[Frame]:
        """Yield the frames `indices` (strictly ascending), each valid until `release`; hold a batch at most."""

    def release(self, frame: Frame, /) -> None:
        """Hand the memory of `frame` back, so that another frame can be decoded into it."""

    def close(self) -> None:
        """Close the file."""
