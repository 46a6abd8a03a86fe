"""The decord back end: opened only where it is known to be right, and checked against the PyAV index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import EnvironmentLacksError, VideoError
from gazetools.schemas.video import VideoInfo
from gazetools.video.colour import SAME_RGB_EVERYWHERE
from gazetools.video.index import FrameIndex
from gazetools.video.probe import choose_stream, open_container

_BATCH = 8
"""Frames fetched per call when reading in sequence; bounds memory."""
_TIME_TOLERANCE_SECONDS = 1e-3
"""Tolerance for decord's times, which are 32-bit floats."""
_CODECS = {"h264", "hevc", "mpeg4", "mpeg2video", "vp8", "vp9", "mjpeg"}
"""Codecs that decord's FFmpeg decodes by itself; it dates from before AV1 decoders were common."""


def reasons_against(path: Path, info: VideoInfo, index: FrameIndex) -> list[str]:
    """Reasons why decord must not open this stream; empty where nothing is known against it.

    Measured with decord 0.6.0 on barcoded files: it hangs on MPEG-TS, returns wrong frames silently for H.264 and
    H.265 with leading pictures (x265's default open GOP) and for edit lists, and may abort or hang on damaged files.
    """
    reasons = []
    if "mpegts" in info.container.split(","):
        reasons.append("it hangs on MPEG-TS")
    if info.codec not in _CODECS:
        reasons.append(f"its FFmpeg may not decode {info.codec}")
    if index.has_leading_pictures:
        reasons.append("it gives wrong frames after a seek into an open GOP (pictures shown before their keyframe)")
    if info.pixel_format not in SAME_RGB_EVERYWHERE:
        reasons.append(f"its 8-bit RGB of {info.pixel_format} differs by far more than 2 levels from the right one")
    if info.colours_of_container:
        reasons.append("it does not read the colour tags of the container, and the frames have none")
    if info.tone_mapping != "none":
        reasons.append(f"it has no tone mapping for HDR ({info.colour_transfer})")
    if index.packets.discard.any():
        reasons.append("it counts and returns frames that an edit list hides")
    if index.ordinal:
        reasons.append("the packets have no unique presentation times")
    if index.damage:
        reasons.append(f"it may hang or abort on a damaged file ({'; '.join(index.damage)})")
    with open_container(path) as container:
        if choose_stream(container, path, None).index != info.stream_index:
            reasons.append(f"it cannot choose stream {info.stream_index}")
    return reasons


def open_decord(path: Path, info: VideoInfo, index: FrameIndex, *, threads: int) -> tuple[DecordSource, VideoInfo]:
    """A checked source and the facts with decord as decoder.

    Raises VideoError with every reason against decord on this file, EnvironmentLacksError where it is not installed.
    """
    if reasons := reasons_against(path, info, index):
        raise _refused(path, reasons)
    try:
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        raise EnvironmentLacksError(
            f"The back end decord cannot be imported: {error}.",
            hint="Install it with `pip install decord` (Linux x86_64 only), or use the back end pyav.",
        ) from error
    try:
        reader = decord.VideoReader(str(path.resolve()), ctx=decord.cpu(0), num_threads=threads)
        count = len(reader)
    except (decord.DECORDError, RuntimeError, OSError) as error:
        raise _refused(path, [f"it cannot open the file ({_first_line(error)})"]) from error
    if count != len(index):
        raise _refused(path, [f"it counts {count} frames where {len(index)} decode"])
    # decord counts time from the first frame.
    expected = (index.ticks - index.ticks[0]) * float(info.time_base)
    given = np.asarray(reader.get_frame_timestamp(range(count)), np.float64).reshape(count, 2)[:, 0]
    given = given - given[0]
    wrong = np.flatnonzero(np.abs(given - expected) > _TIME_TOLERANCE_SECONDS + 1e-6 * np.abs(expected))
    if len(wrong):
        frame = int(wrong[0])
        raise _refused(path, [f"it gives frame {frame} the time {given[frame]:.6f} s, not {expected[frame]:.6f} s"])
    return DecordSource(path, reader, info, decord.DECORDError), replace(info, decoder=f"decord {decord.__version__}")


def _refused(path: Path, reasons: list[str]) -> VideoError:
    return VideoError(
        f"{path}: the back end decord is refused for this file: {'; '.join(reasons)}.",
        hint="Use the back end pyav.",
        path=str(path),
        reasons=reasons,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class DecordSource:
    """RGB frames by index through an opened decord reader, which applies rotation and colour tags itself."""

    def __init__(self, path: Path, reader: Any, info: VideoInfo, native_error: type[Exception]) -> None:
        self._path, self._reader, self._native_error = path, reader, native_error
        self._shape = (info.height, info.width, 3)

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield (index, uint8 [H,W,3]) for the ascending `wanted`."""
        for first in range(0, len(wanted), _BATCH):
            part = [int(frame) for frame in wanted[first : first + _BATCH]]
            try:
                batch: npt.NDArray[np.uint8] = self._reader.get_batch(part).asnumpy()
            except (self._native_error, RuntimeError, OSError, IndexError) as error:
                raise VideoError(
                    f"{self._path}: decord cannot decode frames {part[0]}..{part[-1]}: {_first_line(error)}.",
                    hint="Use the back end pyav, which names the frame.",
                    path=str(self._path),
                    frame_index=part[0],
                ) from error
            if batch.shape != (len(part), *self._shape):
                raise VideoError(
                    f"{self._path}: decord gave frames of shape {batch.shape}, expected {(len(part), *self._shape)}.",
                    hint="Use the back end pyav.",
                    path=str(self._path),
                )
            yield from zip(part, batch, strict=True)
