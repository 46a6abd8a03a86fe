"""When a video ends, from its container and last packets: no picture is decoded, and little of the file is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazetools.video.probe import choose_stream, import_av, open_container

_TAIL_SECONDS = 2.0
"""How far before the claimed end the packets are read."""


@dataclass(frozen=True, kw_only=True)
class VideoExtent:
    """The end of a video in seconds counted from its first frame."""

    last_seconds: float
    """Time of the last frame."""
    period_seconds: float
    """Seconds for which a frame is shown."""
    rate: float
    """Frames per second as the container states them; 0: it does not."""

    @property
    def end_seconds(self) -> float:
        """When the last frame has been shown."""
        return self.last_seconds + self.period_seconds


def packet_extent(path: Path) -> VideoExtent | None:
    """The end that the last packets of `path` have, whatever its header claims; None where they have no times.

    It may be off by the frames at the end that do not decode; a reader's index is exact. Raises VideoError for a file
    that cannot be opened as a video.
    """
    av = import_av()
    with open_container(path) as container:
        stream = choose_stream(container, path, None)
        base, rate = float(stream.time_base), float(stream.average_rate or stream.guessed_rate or 0)
        first = stream.start_time
        try:
            if first is None:
                first = min((t for t in _times(container, stream, most=64)), default=None)
            if first is None:
                return None
            _seek_near_end(av, container, stream, first)
            last = max(_times(container, stream), default=None)
        except av.error.FFmpegError:
            return None
    if last is None or last < first:
        return None
    return VideoExtent(last_seconds=(last - first) * base, period_seconds=1 / rate if rate else 0.0, rate=rate)


def _seek_near_end(av: Any, container: Any, stream: Any, first: int) -> None:
    """Go to the keyframe before the last seconds that the container claims, or to the start where it can't."""
    base = float(stream.time_base)
    claimed = stream.duration * base if stream.duration else (container.duration or 0) / av.time_base
    container.seek(max(first + int((claimed - _TAIL_SECONDS) / base), first), stream=stream)


def _times(container: Any, stream: Any, *, most: int | None = None) -> list[int]:
    """Presentation times in ticks of the packets that are shown, from here to the end or for the first `most`."""
    found = []
    for number, packet in enumerate(container.demux(stream)):
        time = packet.pts if packet.pts is not None else packet.dts
        if packet.size and time is not None and not packet.is_discard:
            found.append(time)
        if most is not None and number + 1 >= most:
            break
    return found
