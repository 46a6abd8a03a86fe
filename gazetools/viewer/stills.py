"""Stills: exactly frame i of a video as a JPEG, fast for its neighbours in both directions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.io.closing import Closing
from gazetools.schemas.errors import GazetoolsError, VideoError
from gazetools.schemas.video import VideoInfo
from gazetools.video import VideoReader

_AHEAD, _BEHIND = 32, 120
"""Frames around the last one asked for that are decoded before somebody asks; going back costs a whole stretch from a
keyframe, so more of it is kept."""
_STRETCH = 30
"""Frames that are decoded in one go on the way back: each costs the way from a keyframe, and the nearest come last."""
_PASSED = 12
"""Frames before one that is decoded far from all others, which are kept since the decoder passes them."""
_QUALITY = 90
_MOST_BYTES, _MOST_RAW_BYTES = 160 << 20, 96 << 20


class Stills(Closing):
    """The frames of one open video as JPEG. Safe for several threads; one of its own decodes the neighbours.

    A frame is the i-th decoded one in presentation order, as everywhere. `still` raises VideoError where a frame can't
    be decoded. `reader` is closed with this object.
    """

    def __init__(self, reader: VideoReader) -> None:
        self._reader = reader
        self._decoding = threading.Lock()
        self._state = threading.Condition()
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._passed: dict[tuple[int, int], npt.NDArray[np.uint8]] = {}
        """Decoded and not yet written as JPEG: the frames before the last one that was decoded far from all others."""
        self._waiting = 0
        """Requests that wait for the decoder; the neighbours wait for them."""
        self._place: tuple[int, int] | None = None
        """(frame, height) of the last request, whose neighbours are not all there yet."""
        self._closed = False
        self._thread = threading.Thread(target=self._decode_neighbours, name="gazetools-stills", daemon=True)
        self._thread.start()

    @property
    def info(self) -> VideoInfo:
        """Facts of the stream."""
        return self._reader.info

    def times(self) -> npt.NDArray[np.float64]:
        """float64 [frame_count], the pts of each frame in seconds; the first call reads the file's packets."""
        with self._decoding:
            return self._reader.pts_seconds

    def still(self, frame: int, height: int) -> bytes:
        """The JPEG of `frame`, at most `height` pixels high."""
        key = (frame, min(height, self.info.height))
        with self._state:
            if (data := self._found(key)) is not None:
                self._place = key
                self._state.notify_all()
                return data
            self._waiting += 1
        try:
            with self._decoding:
                data = self._found(key) or self._decoded(key)
        finally:
            with self._state:
                self._waiting -= 1
                self._place = key
                self._state.notify_all()
        return data

    @contextmanager
    def pictures(self, frames: range, height: int) -> Iterator[Iterator[bytes]]:
        """The JPEGs of ascending frames in the block, for an export; nothing is kept, nobody else decodes."""
        with self._decoding, closing(_generator(self._reader.frames(frames))) as found:
            yield (_jpeg(frame.rgb, min(height, self.info.height)) for frame in found)

    def close(self) -> None:
        """End the thread and close the video."""
        with self._state:
            self._closed = True
            self._state.notify_all()
        self._thread.join()
        with self._decoding:
            self._reader.close()

    def _found(self, key: tuple[int, int]) -> bytes | None:
        data = self._kept.get(key)
        if data is not None:
            self._kept.move_to_end(key)
        return data

    def _decoded(self, key: tuple[int, int]) -> bytes:
        """The JPEG of a frame that is not kept; called by the one that decodes."""
        if (rgb := self._passed.pop(key, None)) is not None:
            return self._keep(key, rgb)
        frame, height = key
        room = min(_PASSED, _MOST_RAW_BYTES // (self.info.width * self.info.height * 3))
        first = frame
        while first > max(0, frame - room) and (first - 1, height) not in self._kept:
            first -= 1
        if first == frame or frame >= self._reader.frame_count:
            return self._keep(key, self._reader.read([frame])[0])
        self._passed = {}
        try:
            for found in self._reader.frames(range(first, frame + 1)):
                self._passed[found.index, height] = found.rgb
        except VideoError:  # one of those before may be damaged
            self._passed = {}
            return self._keep(key, self._reader.read([frame])[0])
        return self._keep(key, self._passed.pop(key))

    def _keep(self, key: tuple[int, int], rgb: npt.NDArray[np.uint8]) -> bytes:
        data = _jpeg(rgb, key[1])
        with self._state:
            if key not in self._kept:
                self._kept[key] = data
                self._bytes += len(data)
            while self._bytes > _MOST_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return data

    def _decode_neighbours(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._closed or (self._place is not None and not self._waiting))
                if self._closed:
                    return
                assert self._place is not None
                frame, height = self._place
                self._place = None
            try:
                self._decode_around(frame, height)
            except GazetoolsError:
                continue  # whoever asks for that frame learns why it can't be decoded

    def _decode_around(self, frame: int, height: int) -> None:
        """Decode what is missing ahead, then behind; stop as soon as somebody waits or has gone elsewhere."""
        with self._decoding:
            count = self._reader.frame_count
        while self._write_passed() and not self._interrupted(frame):
            pass
        ahead = self._missing(range(frame + 1, min(frame + 1 + _AHEAD, count)), height)
        behind = self._missing(range(max(0, frame - _BEHIND), frame), height)
        parts = [ahead] if ahead and ahead[0] - frame <= _AHEAD // 2 else []
        if behind and frame - behind[-1] <= _BEHIND // 2:
            parts += [behind[max(0, end - _STRETCH) : end] for end in range(len(behind), 0, -_STRETCH)]
        for part in parts:
            with self._decoding, closing(_generator(self._reader.frames(part))) as frames:
                for found in frames:
                    self._keep((found.index, height), found.rgb)
                    if self._interrupted(frame):
                        return

    def _write_passed(self) -> bool:
        """Write the latest of the passed frames as JPEG; False: there is none."""
        with self._decoding:
            if not self._passed:
                return False
            self._keep(*self._passed.popitem())
        return True

    def _missing(self, frames: range, height: int) -> list[int]:
        with self._state:
            return [index for index in frames if (index, height) not in self._kept]

    def _interrupted(self, frame: int) -> bool:
        with self._state:
            moved = self._place is not None and abs(self._place[0] - frame) > _BEHIND
            return self._closed or self._waiting > 0 or moved


def _generator(frames: Iterator[Any]) -> Any:
    """`frames`, which is a generator, as one that can be closed."""
    return frames


def _jpeg(rgb: npt.NDArray[np.uint8], height: int) -> bytes:
    if height < rgb.shape[0]:
        width = max(1, round(rgb.shape[1] * height / rgb.shape[0]))
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    good, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not good:
        raise VideoError(f"A frame of {rgb.shape[1]}x{rgb.shape[0]} pixels can't be written as JPEG.")
    return data.tobytes()
