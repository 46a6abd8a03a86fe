"""How a browser can play a video: the file itself, a copy in a codec that it knows, or one still after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gazetools.schemas.video import HDR_TRANSFERS, VideoInfo
from gazetools.video.probe import import_av

_CODECS = {"h264", "vp8", "vp9", "av1"}
_CONTAINERS = {"mp4", "mov", "matroska", "webm"}
_PIXELS = {"yuv420p", "yuvj420p"}
"""Codecs, containers and pixel formats that Chromium, Firefox and Safari play; others go by a copy."""
MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/webm",
}


@dataclass(frozen=True, kw_only=True)
class PlayPlan:
    """How a video is played."""

    way: str
    """`direct`: the browser plays the file; `proxy`: a copy of it, and stills until that is there."""
    words: str
    """Why, for the page; empty for the file itself."""
    start_seconds: float
    """Container time at which the browser's clock has 0."""


def plan_for(info: VideoInfo) -> PlayPlan:
    """The plan for a file with these facts, by what browsers are known to play."""
    if Path(info.path).is_dir():
        return PlayPlan(way="proxy", words="browsers do not play folders of pictures", start_seconds=0.0)
    reasons = []
    if info.codec not in _CODECS:
        reasons.append(f"browsers do not all play the codec {info.codec}")
    if not _CONTAINERS & set(info.container.split(",")):
        reasons.append(f"browsers do not play the container {info.container}")
    if info.pixel_format not in _PIXELS:
        reasons.append(f"browsers do not all play pixels in {info.pixel_format}")
    if info.colour_transfer in HDR_TRANSFERS:
        reasons.append("the video is HDR")
    start, streams = _start_and_videos(info.path)
    if streams > 1:
        reasons.append(f"the file has {streams} video streams")
    if reasons:
        return PlayPlan(way="proxy", words="; ".join(reasons), start_seconds=0.0)
    return PlayPlan(way="direct", words="", start_seconds=start)


def _start_and_videos(path: str) -> tuple[float, int]:
    """The container's start in seconds, which browsers show as 0, and its number of video streams without covers."""
    with import_av().open(path) as container:
        videos = [stream for stream in container.streams.video if stream.average_rate]
        return (container.start_time or 0) / 1_000_000, len(videos)
