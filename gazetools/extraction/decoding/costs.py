"""Cost of a video from what its container declares: good enough to balance work and to estimate, not to rely on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gazetools.io.source_digest import source_bytes
from gazetools.schemas.picture_times import PictureTimes

_PIXELS_PER_BYTE = 60
"""Decoded pixels per byte of H.264 from cameras (0.13 bit per pixel); used only for files that state no length."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Facts that a container declares about its video stream; none need be true."""

    frames: int
    """Declared frame count, else duration x rate; 0 where neither is declared."""
    pixels: int
    seconds: float
    """Declared duration; 0 where none is declared."""
    transfer: str = "unspecified"
    """FFmpeg's name of the transfer function."""


def declared(path: Path, times: PictureTimes) -> Declared:
    """Read what a container declares, decoding nothing, in the child; VideoError where it can't be opened.

    Of a folder of pictures, their number and what the first one shows, which are true.
    """
    if path.is_dir():
        return _of_folder(path, times)
    from gazetools.video.colour import colour_tags, describe_light
    from gazetools.video.probe import choose_stream, open_container

    with open_container(path) as container:
        stream = choose_stream(container, path, None)
        seconds = (container.duration or 0) / 1_000_000
        frames = int(stream.frames)
        if not frames and stream.average_rate:
            frames = int(seconds * float(stream.average_rate))
        pixels = int(stream.codec_context.width) * int(stream.codec_context.height)
        transfer, _ = describe_light(colour_tags(stream.codec_context))
    return Declared(frames=frames, pixels=pixels, seconds=seconds, transfer=transfer)


def _of_folder(path: Path, times: PictureTimes) -> Declared:
    from gazetools.video.frame_folder import FrameFolder

    folder = FrameFolder.open(path, times)
    seconds = float(folder.pts_seconds[-1] - folder.pts_seconds[0]) + 1 / float(folder.info.rate)
    return Declared(frames=folder.frame_count, pixels=folder.info.width * folder.info.height, seconds=seconds)


def cost_by_size(path: Path) -> int:
    """Cost by file size, at least 1; for a file whose container declares nothing or can't be opened."""
    try:
        return max(source_bytes(path) * _PIXELS_PER_BYTE, 1)
    except OSError:
        return 1
