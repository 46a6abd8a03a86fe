"""A folder of numbered pictures as a video: frame i is picture i of the numbering, at the time i / rate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import VideoError
from gazetools.schemas.video import Frame, VideoInfo
from gazetools.video.picture_folders import is_picture


@dataclass(frozen=True)
class FrameFolder:
    """An open folder of pictures; a `VideoSource`. All pictures have the size of the first one.

    Nothing is opened before it is read. Raises VideoError where the first or the last picture is not there.
    """

    path: Path
    rate: Fraction
    """Pictures per second."""
    template: str = "frame_{:010d}.jpg"
    """Name of a picture with its number."""
    offset: int = 1
    """Number of the first picture."""
    promised_count: int | None = None
    """Number of pictures; None: those in the folder are counted."""

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise VideoError(f"{self.path} is no folder of pictures.", path=str(self.path))
        for index in {0, self.frame_count - 1}:
            if not self._place(index).is_file():
                raise VideoError(
                    f"{self.path}: picture {self._place(index).name} is not there, although {self.frame_count} are "
                    f"{'counted' if self.promised_count is None else 'promised'}, from number {self.offset} on.",
                    hint="Correct frame_template and frame_index_offset, or num_frames in the CSV of video_info_path.",
                    path=str(self.path),
                )

    @cached_property
    def frame_count(self) -> int:
        """Number of pictures; VideoError where there are none."""
        if self.promised_count is not None:
            return self.promised_count
        with os.scandir(self.path) as entries:
            count = sum(is_picture(Path(entry.name)) and entry.name[0] != "." for entry in entries)
        if not count:
            raise VideoError(f"{self.path} holds no pictures.", path=str(self.path))
        return count

    @cached_property
    def pts_seconds(self) -> npt.NDArray[np.float64]:
        """Time of each picture, float64 [frame_count], from 0 on."""
        seconds: npt.NDArray[np.float64] = np.arange(self.frame_count) / float(self.rate)
        seconds.flags.writeable = False
        return seconds

    @cached_property
    def info(self) -> VideoInfo:
        """Facts of the folder; its first picture is read for their size."""
        height, width, _ = self._read(0).shape
        return VideoInfo(
            path=str(self.path), size_bytes=0, container="pictures", codec=Path(self.template).suffix.lstrip("."),
            stream_index=0, width=width, height=height, rotation_degrees=0, pixel_format="rgb24", colour_matrix="rgb",
            colour_matrix_source="tagged", colour_range="full", rate=self.rate, time_base=1 / self.rate,
            declared_frame_count=self.promised_count, decoder=_decoder(),
        )  # fmt: skip

    @property
    def damage(self) -> tuple[str, ...]:
        """Nothing is known against the pictures before they are read."""
        return ()

    def frames(self, indices: npt.NDArray[np.int64], /) -> Iterator[Frame]:
        """Yield the pictures `indices`; VideoError names one that cannot be read or has another size."""
        size = (self.info.height, self.info.width)
        for index in indices.tolist():
            rgb = self._read(index)
            if rgb.shape[:2] != size:
                raise VideoError(
                    f"{self._place(index)} is {rgb.shape[1]}x{rgb.shape[0]} pixels, the first picture "
                    f"{size[1]}x{size[0]}; one size is allowed per video.",
                    path=str(self.path),
                    frame_index=index,
                )
            yield Frame(index=index, pts_seconds=float(self.pts_seconds[index]), rgb=rgb)

    def release(self, frame: Frame, /) -> None:
        """Do nothing: every picture has memory of its own."""

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _place(self, index: int) -> Path:
        return self.path / self.template.format(index + self.offset)

    def _read(self, index: int) -> npt.NDArray[np.uint8]:
        import cv2

        place = self._place(index)
        # The pixels as they are stored: frames of a video were never turned by a tag of the picture.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        picture = cv2.imread(str(place), flags) if place.is_file() else None
        if picture is None:
            raise VideoError(
                f"The picture {place} {'cannot be read' if place.is_file() else 'is not there'}.",
                hint="Unpack the video's pictures again.",
                path=str(self.path),
                frame_index=index,
            )
        return np.ascontiguousarray(picture[..., ::-1])


def _decoder() -> str:
    import cv2

    return f"opencv {cv2.__version__}"
