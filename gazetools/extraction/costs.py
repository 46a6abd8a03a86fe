"""What a video will cost, from its container's claims: enough to balance work, never trusted for anything else."""

from __future__ import annotations

from pathlib import Path

_PIXELS_PER_BYTE = 60
"""Decoded pixels per byte of H.264 as cameras write it (0.13 bit per pixel); only for files that state no length."""


def declared_cost(path: Path) -> int:
    """Declared frames x pixels of the video stream; the same on every machine that sees the same file.

    Opens the container and decodes nothing. Runs in the decoding process, since containers can crash a demuxer too.
    A container without a frame count is judged by duration x rate, one without either by its size.

    Raises VideoError where the file can't be opened.
    """
    from gazetools.video.probe import choose_stream, open_container

    with open_container(path) as container:
        stream = choose_stream(container, path, None)
        frames = int(stream.frames)
        if not frames and container.duration and stream.average_rate:
            frames = int(container.duration / 1_000_000 * float(stream.average_rate))
        pixels = int(stream.codec_context.width) * int(stream.codec_context.height)
    return frames * pixels if frames and pixels else cost_by_size(path)


def cost_by_size(path: Path) -> int:
    """The guess for a file whose container says nothing or can't be opened: by its bytes, at least 1."""
    try:
        return max(path.stat().st_size * _PIXELS_PER_BYTE, 1)
    except OSError:
        return 1
