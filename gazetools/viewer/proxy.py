"""Copies of videos in a codec that every browser plays, frame for frame, in a folder that is removed at the end."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gazetools.io.closing import Closing
from gazetools.schemas.errors import GazetoolsError
from gazetools.video import VideoReader
from gazetools.viewer.shown_video import ShownVideo

_TICK_SECONDS = Fraction(1, 90_000)
_HEIGHT = 720
"""Pixels; stills keep the full size."""


@dataclass(kw_only=True)
class ProxyState:
    """How far a copy is."""

    state: str = "making"
    """`making`, `ready` or `failed`."""
    done: int = 0
    total: int = 0
    """Frames."""
    words: str = ""
    """Why it failed."""


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """A copy that was begun."""

    key: tuple[Hashable, ...]
    """That of the video it is made of."""
    path: Path
    state: ProxyState


class Proxies(Closing):
    """The copies of this call, each made once by a thread of its own. Time 0 of a copy is the first frame's."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._copies: dict[str, _Copy] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._one = threading.Lock()
        """Copies are made one after the other."""
        self._stopped = threading.Event()

    def start(self, video_id: str, video: ShownVideo) -> ProxyState:
        """Begin the copy of a video unless it was begun; returns how far it is. One that failed is tried again."""
        with self._lock:
            known = self._copies.get(video_id)
            if known is not None and known.key == video.key and known.state.state != "failed":
                return known.state
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="gazetools-view-", ignore_cleanup_errors=True)
            path = Path(self._folder.name) / f"{len(self._threads)}.mp4"
            copy = self._copies[video_id] = _Copy(key=video.key, path=path, state=ProxyState())
            work = (copy.state, video, path)
            thread = threading.Thread(target=self._make, args=work, name="gazetools-proxy", daemon=True)
            self._threads.append(thread)
        thread.start()
        return copy.state

    def state(self, video_id: str) -> ProxyState | None:
        """How far the copy is; None: nobody asked for it."""
        copy = self._copies.get(video_id)
        return None if copy is None else copy.state

    def file(self, video_id: str) -> Path | None:
        """The finished copy; None: there is none yet."""
        copy = self._copies.get(video_id)
        return None if copy is None or copy.state.state != "ready" else copy.path

    def close(self) -> None:
        """Stop copying and remove all copies."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self._folder is not None:
            self._folder.cleanup()

    def _make(self, state: ProxyState, video: ShownVideo, copy: Path) -> None:
        try:
            with self._one, video.open() as reader:
                self._encode(reader, copy, state)
        except (GazetoolsError, OSError, ValueError) as error:
            state.words, state.state = f"The copy can't be made: {error}", "failed"
        else:
            state.state = "failed" if self._stopped.is_set() else "ready"

    def _encode(self, reader: VideoReader, copy: Path, state: ProxyState) -> None:
        import av

        state.total = reader.frame_count
        scale = min(1.0, _HEIGHT / reader.info.height)
        width, height = (max(2, round(side * scale) // 2 * 2) for side in (reader.info.width, reader.info.height))
        with av.open(str(copy), "w", format="mp4") as container:
            settings = {"preset": "ultrafast", "crf": "23", "g": "30", "bf": "0"}
            stream: Any = container.add_stream("libx264", rate=reader.info.rate, options=settings)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = _TICK_SECONDS
            start = float(reader.pts_seconds[0])
            for frame in reader.frames():
                if self._stopped.is_set():
                    return
                rgb = frame.rgb
                if (height, width) != rgb.shape[:2]:
                    rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
                picture.pts = round((frame.pts_seconds - start) / _TICK_SECONDS)
                picture.time_base = _TICK_SECONDS
                container.mux(stream.encode(picture))
                state.done += 1
            container.mux(stream.encode(None))
