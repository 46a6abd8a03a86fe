"""What a video will cost, from its container's claims: enough to balance work and to guess, never trusted for more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PIXELS_PER_BYTE = 60
"""Decoded pixels per byte of H.264 as cameras write it (0.13 bit per pixel); only for files that state no length."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a container says of its video stream; nothing of it need be true."""

    frames: int
    """Its frame count, else duration x rate; 0 where it states neither."""
    pixels: int
    seconds: float
    """0 where it states none."""


def declared(path: Path) -> Declared:
    """What the container at `path` declares; the same on every machine that sees the same file.

    Opens the container and decodes nothing. Runs in the decoding process, since containers can crash a demuxer too.

    Raises VideoError where the file can't be opened.
    """
    from gazetools.video.probe import choose_stream, open_container

    with open_container(path) as container:
        stream = choose_stream(container, path, None)
        seconds = (container.duration or 0) / 1_000_000
        frames = int(stream.frames)
        if not frames and stream.average_rate:
            frames = int(seconds * float(stream.average_rate))
        pixels = int(stream.codec_context.width) * int(stream.codec_context.height)
    return Declared(frames=frames, pixels=pixels, seconds=seconds)


def cost_by_size(path: Path) -> int:
    """The guess for a file whose container says nothing or can't be opened: by its bytes, at least 1."""
    try:
        return max(path.stat().st_size * _PIXELS_PER_BYTE, 1)
    except OSError:
        return 1
