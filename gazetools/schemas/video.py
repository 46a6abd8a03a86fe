"""Facts of a video file: geometry, colour, rate and how its frames were counted."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PQ, HLG = "smpte2084", "arib-std-b67"
HDR_TRANSFERS = (PQ, HLG)
"""FFmpeg's names of the transfer functions whose pictures are HDR."""
HdrRule = Literal["tonemap", "refuse", "raw"]
"""What becomes of HDR video: SDR by the named tone mapping, an error, or its 8-bit values as they are stored."""


@dataclass(frozen=True, kw_only=True)
class Remark:
    """What a reader found in a file that is worth telling and does not make it unusable."""

    code: str
    """The code of `validate` for it."""
    text: str
    """What was found, and where: without the name of the file, without a full stop."""
    frames: tuple[int, ...] = ()
    """Indices of the frames concerned, such as the first frame after each gap."""


VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts", ".mts", ".m2ts"),
    *(".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv"),
)
"""Suffixes of the files that are taken from folders, in any letter case; a file named by itself may have any suffix.
Where several files have one id and one of them must be chosen, it is that with the first of these suffixes."""


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """How a folder of pictures became a video."""

    pattern: str
    """Names of the pictures, such as `frame_%010d.jpg`; empty where a CSV gives their order."""
    first_number: int | None
    """Number of frame 0; None where a CSV gives the order."""
    missing_numbers: int
    """Numbers without a picture between the first and the last one."""
    timed_by: str
    """Option or file that states the times."""
    times_path: str | None = None
    """The CSV of times; None: a rate."""
    times_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Facts of one video stream; width and height are those of the returned pixels, after rotation."""

    path: str
    size_bytes: int
    container: str
    """FFmpeg's short format name, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    codec: str
    stream_index: int
    """Index of the video stream in the file; FFmpeg's best stream unless asked for another."""
    width: int
    height: int
    rotation_degrees: int
    """Counter-clockwise rotation applied to the decoded pixels: 0, 90, 180 or 270."""
    pixel_format: str
    colour_matrix: str
    """The YCbCr matrix used for RGB: `bt601`, `bt709`, `bt2020` or `rgb`."""
    colour_matrix_source: str
    """`tagged` in the stream or its container, or `assumed` (untagged streams are read as BT.601, as FFmpeg does)."""
    colour_range: str
    colour_transfer: str = "unspecified"
    """FFmpeg's name of the transfer function, such as `bt709`, `smpte2084` (PQ) or `arib-std-b67` (HLG)."""
    colour_primaries: str = "unspecified"
    """FFmpeg's name of the primaries, such as `bt709`, `bt2020` or `smpte432` (P3)."""
    tone_mapping: str = "none"
    """Method by which HDR became the returned SDR pixels (`gazetools.video.hdr`); `none` for SDR video."""
    colours_of_container: bool = False
    """True where only the container (MP4's `colr`, Matroska's `Colour`) states the colours, and the frames do not."""
    rate: Fraction
    """Average frames per second as the container states it; times come from pts, never from this."""
    time_base: Fraction
    """Seconds per pts tick."""
    declared_frame_count: int | None
    """The container's claim, None where it makes none; often wrong, so frames are counted by decoding."""
    decoder: str
    """Back end and library versions, such as `pyav 18.1.0 (libavcodec 62.11.100)`."""
    pictures: PictureFacts | None = None
    """None: the video is a file."""

    @property
    def colour_handling(self) -> str:
        """What was done to the colours beyond the tags of the frames; `none` for nearly every SDR video."""
        return self.tone_mapping + ("" if not self.colours_of_container else ", colours of the container")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One decoded frame."""

    index: int
    """Position among the decoded frames in presentation order, from 0."""
    pts_seconds: float
    rgb: npt.NDArray[np.uint8]
    """uint8 [height, width, 3], full range RGB, rotated upright."""

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise ValueError(f"rgb must be [height, width, 3], got {self.rgb.shape}")
        if self.index < 0:
            raise ValueError(f"index must be >= 0, got {self.index}")
