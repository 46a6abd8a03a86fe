"""A clip as one HTML file that needs nothing else: its frames as pictures, its heatmaps, and a small player.

The page has one script, whose sha256 its policy names; what comes from videos and heatmaps is a block of JSON,
which no browser runs. The page opens from the disk.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import nullcontext
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from gazetools._version import __version__
from gazetools.html.frame import environment, style_sheet
from gazetools.io.atomic import write_bytes_atomic
from gazetools.progress import Progress
from gazetools.schemas.errors import GazetoolsError, UsageError
from gazetools.schemas.view import ViewOptions
from gazetools.viewer.blocks import QuantisedMaps, quantised, shown_size
from gazetools.viewer.showing import Showing
from gazetools.viewer.video_maps import VideoMaps

_HEIGHT = 540
"""Pixels of the pictures; smaller videos keep their size."""
_SECONDS = 5.0
_MOST_FRAMES = 1800
_MOST_BYTES = 48 << 20


def write_clip_page(showing: Showing, options: ViewOptions, progress: Progress) -> int:
    """Commit `options.export`; returns its number of frames. Raises UsageError for a clip that is too long or empty."""
    assert options.export is not None and options.video is not None, "the settings check this"
    output, video_id = options.export, options.video
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"The page {output} must end in .html.", hint="Change --export.")
    stamps = [showing.stamp(source, video_id) for source in range(len(showing.roots))]
    seconds, has_video = _times(showing, video_id)
    start, stop = options.start or 0.0, options.stop or (options.start or 0.0) + _SECONDS
    low, high = (int(i) for i in np.searchsorted(seconds, [start, stop]))
    if low == high:
        length = float(seconds[-1]) if len(seconds) else 0.0
        raise UsageError(
            f"No frame lies between {start:g} and {stop:g} s; the video is {length:.2f} s long.",
            hint="Change --start and --stop.",
        )
    if high - low > _MOST_FRAMES:
        raise _too_long(f"The clip has {high - low} frames, a page holds at most {_MOST_FRAMES}.", seconds, low)
    task = f"writing {output.name}"
    progress.start(task, high - low)
    clip = _Clip(seconds, low)
    wanted = range(low, high)
    opened = (
        showing.stills(video_id).pictures(wanted, _HEIGHT) if has_video else nullcontext(iter([None] * len(wanted)))
    )
    with opened as pictures:
        for picture in pictures:
            clip.add_picture(picture)
            progress.advance(task)
    sources = []
    for number in range(len(stamps)):
        with showing.maps(number, video_id) as maps:
            rows, damaged = clip.rows(maps, high)
            source = {"name": showing.roots[number].path.name, "size": list(reversed(shown_size(maps.size_hw)))}
            sources.append({**source, "rows": rows, "damaged": damaged})
    size = _size_of(showing, video_id, sources)
    data = {"id": video_id, "first": low, "size": size, "frames": clip.frames, "sources": sources}
    write_bytes_atomic(output, _page(video_id, data).encode())
    progress.finish(task)
    return high - low


class _Clip:
    """The frames and rows of the clip as they go into the page, within its size."""

    def __init__(self, seconds: npt.NDArray[np.float64], low: int) -> None:
        self._seconds, self._low = seconds, low
        self.frames: list[dict[str, Any]] = []
        self._bytes = 0

    def add_picture(self, picture: bytes | None) -> None:
        """The next frame."""
        frame = self._low + len(self.frames)
        shown = None if picture is None else "data:image/jpeg;base64," + _text_of(picture)
        self.frames.append({"seconds": round(float(self._seconds[frame]), 6), "picture": shown})
        self._count(len(shown or ""))

    def rows(self, maps: VideoMaps, high: int) -> tuple[list[list[dict[str, Any]]], int]:
        """The rows of each frame of the clip, and how many maps have numbers that are not finite."""
        damaged = 0
        found: list[list[dict[str, Any]]] = [[] for _ in self.frames]
        table = maps.table
        for frame in range(self._low, high):
            part = table.of_frames(frame, frame + 1)
            if part.start == part.stop:
                continue
            shown = quantised(maps.read(part))
            damaged += shown.damaged
            for place in range(part.stop - part.start):
                row = _row(maps, part.start + place, shown, place)
                found[frame - self._low].append(row)
                self._count(len(row["map"]))
        return found, damaged

    def _count(self, more: int) -> None:
        self._bytes += more
        if self._bytes > _MOST_BYTES:
            what = f"The page would have more than {_MOST_BYTES >> 20} MB: {len(self.frames)} frames are too many."
            raise _too_long(what, self._seconds, self._low)


def _row(maps: VideoMaps, row: int, shown: QuantisedMaps, place: int) -> dict[str, Any]:
    """A row as the scripts know it (`static/maps.js`), with its map as base64."""
    table = maps.table
    box, inout, peak = table.box_xyxy[row], float(table.inout[row]), shown.peak_xy[place]
    return {
        "track": int(table.track_id[row]) if table.track_id[row] >= 0 else None,
        "box": None if np.isnan(box[0]) else [round(float(x), 5) for x in box],
        "inout": round(inout, 4) if np.isfinite(inout) else None,
        "peak": None if np.isnan(peak[0]) else [round(float(x), 5) for x in peak],
        "top": round(float(shown.top[place]), 6),
        "map": _text_of(shown.stored[place].tobytes()),
    }


def _times(showing: Showing, video_id: str) -> tuple[npt.NDArray[np.float64], bool]:
    """(seconds of each frame from the first one, whether there is a video)."""
    if showing.video(video_id).path is not None:
        times = showing.times(video_id)
        return times - times[0], True
    with showing.maps(0, video_id) as maps:
        known = maps.pts_seconds
        if known is None or not np.isfinite(known).all():
            return np.arange(maps.frame_count) / 30, False
        return known - known[0], False


def _size_of(showing: Showing, video_id: str, sources: list[dict[str, Any]]) -> list[int]:
    """(width, height) of the pictures, or without a video of the first source's maps."""
    try:
        info = showing.stills(video_id).info
    except GazetoolsError:
        return list(sources[0]["size"])
    return [info.width, info.height]


def _too_long(what: str, seconds: npt.NDArray[np.float64], low: int) -> UsageError:
    return UsageError(what, hint=f"Give a smaller --stop; the clip starts at {seconds[low]:.2f} s.")


def _page(video_id: str, data: dict[str, Any]) -> str:
    script, style = _script(), style_sheet() + _static("viewer.css")
    policy = f"default-src 'none'; img-src data:; script-src {_hash(script)}; style-src {_hash(style)}"
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    template = environment().get_template("viewer/clip.html.jinja")
    return template.render(
        policy=Markup(policy), script=Markup(script), style=Markup(style), data=Markup(text), video_id=video_id,
        version=__version__,
    )  # fmt: skip


def _script() -> str:
    """The player of exported pages and what it draws with, as one script without imports."""
    drawing = re.sub(r"^export ", "", _static("paint.js"), flags=re.MULTILINE)
    own = re.sub(r"^import .*\n", "", _static("clip.js"), flags=re.MULTILINE)
    return f'"use strict";\n{drawing}\n{own}'


def _static(name: str) -> str:
    return files("gazetools").joinpath(f"viewer/static/{name}").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{_text_of(hashlib.sha256(text.encode()).digest())}'"


def _text_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
