"""Read a video in the decoding process, and go on in a new process where that one dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.extraction.decoding.process import DecoderDied, DecodingProcess
from gazetools.io.closing import Closing
from gazetools.schemas.errors import VideoError
from gazetools.schemas.video import Frame, PictureFacts, VideoInfo

_ATTEMPTS = 3
"""Number of deaths of the decoding process at one place of a video at which the video is given up."""
_PROGRESS_FRAMES = 256
"""A death this many frames after the previous one counts as the first one: a slow leak is no broken video."""
_RING_BYTES = 1 << 30
"""Largest size of the ring, unless one batch alone is larger."""
_READ_BYTES_PER_SECOND = 10 << 20
"""Rate of a slow network disk. Opening reads every packet of a file, so its time limit grows with the file's size."""
_SKIP_FRAMES_PER_SECOND = 20.0
"""Lowest rate at which unwanted frames are skipped; 4K on one core was measured at 58 frames/s."""


class ChildReader(Closing):
    """A video that is open in the decoding process, with the interface of `gazetools.video.VideoReader`.

    Frames lie in shared memory and are valid until `release`; the caller may keep at most `batch_size` at a time.
    """

    def __init__(self, decoder: DecodingProcess, path: Path, *, batch_size: int, opening: bool = False) -> None:
        """Open `path`, or wait for the process to do so where it has the request already (`opening`)."""
        self._decoder = decoder
        self._path = path
        self._batch_size = batch_size
        self._deaths: list[tuple[int, str]] = []
        """(frame index, reason) of the deaths at about the same place."""
        self._slot_of: dict[int, int] = {}
        self._whole = True
        """False while the process still sends frames of a request."""
        self.info: VideoInfo
        self.pts_seconds: npt.NDArray[np.float64]
        """float64 [frame_count]."""
        self.counted_by: str
        """`index` or `decoding`, as in VideoReader."""
        self.damage: tuple[str, ...]
        self.remarks: tuple[str, ...]
        """Texts of the remarks, as in VideoReader."""
        self._open(asked=opening)

    def close(self) -> None:
        """Close the file. Kills the process instead where it still sends frames, which nobody wants any more."""
        if self._whole:
            self._decoder.tell(do="close")
        else:
            self._decoder.stop()

    @property
    def decode_seconds(self) -> float:
        """Seconds that this decoding process has spent on frames, over all videos."""
        return self._decoder.busy_seconds

    @property
    def frame_count(self) -> int:
        """Number of frames that decode; the number that the container declares may be wrong."""
        return len(self.pts_seconds)

    def frames(self, wanted: npt.NDArray[np.int64]) -> Iterator[Frame]:
        """Yield the frames `wanted` (strictly ascending); `rgb` is a view of shared memory, valid until `release`.

        With `allow_damaged` those that can't be decoded are left out. VideoError: a frame can't be decoded, or the
        process, which is replaced, dies three times at about one place.
        """
        position = 0
        while position < len(wanted):
            try:
                for frame in self._run(wanted[position:]):
                    position = int(np.searchsorted(wanted, frame.index)) + 1
                    yield frame
                return
            except DecoderDied as death:
                self._count(death, int(wanted[position]))
                self._open()

    def release(self, frame: Frame) -> None:
        """Release the memory of `frame` for another frame."""
        slot = self._slot_of.pop(frame.index, None)
        if slot is not None and not self._whole:
            self._decoder.tell(do="free", slot=slot)

    def _open(self, *, asked: bool = False) -> None:
        limit = self._decoder.settings.timeout_seconds
        with suppress(OSError):
            limit += self._path.stat().st_size / _READ_BYTES_PER_SECOND
        while True:
            try:
                if not asked:
                    self._decoder.ask_to_open(self._path)
                asked = False
                facts = self._decoder.answer(limit)
                pts = np.frombuffer(self._decoder.answer_bytes(limit), np.float64)
                break
            except DecoderDied as death:
                self._count(death, self._deaths[-1][0] if self._deaths else -1)
        info = facts["info"]
        info |= {name: Fraction(info[name]) for name in ("rate", "time_base")}
        info["pictures"] = None if info.get("pictures") is None else PictureFacts(**info["pictures"])
        self.info, self.pts_seconds = VideoInfo(**info), pts
        self.counted_by, self.damage = facts["counted_by"], tuple(facts["damage"])
        self.remarks = tuple(facts["remarks"])

    def _run(self, wanted: npt.NDArray[np.int64]) -> Iterator[Frame]:
        slots, decoder = self._slots(), self._decoder
        self._slot_of.clear()
        self._whole = False
        decoder.ask(np.ascontiguousarray(wanted, np.int64).tobytes(), do="frames", slots=slots)
        ring: npt.NDArray[np.uint8] | None = None
        before = -1
        last = int(wanted[-1])
        message: dict[str, Any] | None = None
        for index in wanted.tolist():
            if message is None:
                message = decoder.answer(decoder.settings.timeout_seconds + (index - before) / _SKIP_FRAMES_PER_SECOND)
                before = index
            if message.get("index") != index and not decoder.settings.allow_damaged:
                raise VideoError(f"{self._path}: the reader did not give frame {index}.")
            if message["is"] == "end":  # neither this frame nor a later one can be decoded
                self._whole = True
                return
            if message["index"] != index:  # this frame can't be decoded; the message is of a later one
                continue
            if ring is None:  # mapped after the child has made it as large
                ring = decoder.ring((slots, self.info.height, self.info.width, 3))
            decoder.busy_seconds += message["busy"]
            self._slot_of[index] = message["slot"]
            if index == last:  # read the end now: a consumer that counts its frames does not ask again
                decoder.answer(decoder.settings.timeout_seconds)
                self._whole = True
            frame, message = Frame(index=index, pts_seconds=message["pts"], rgb=ring[message["slot"]]), None
            yield frame

    def _slots(self) -> int:
        """Slots of the ring: two batches and two frames, since one batch is computed while the next is decoded."""
        frame_bytes = self.info.width * self.info.height * 3
        return max(self._batch_size + 2, min(2 * self._batch_size + 2, _RING_BYTES // frame_bytes))

    def _count(self, death: DecoderDied, frame: int) -> None:
        if self._deaths and frame >= self._deaths[0][0] + _PROGRESS_FRAMES:
            self._deaths.clear()
        self._deaths.append((frame, str(death)))
        self._whole = True  # there is no child left to stop
        if len(self._deaths) >= _ATTEMPTS:
            where = f"at frame {frame}" if frame >= 0 else "while opening it"
            raise VideoError(
                f"Decoding {self._path} was given up {where} after {_ATTEMPTS} attempts: {death}.",
                hint="Check the file with `ffmpeg -v error -i FILE -f null -`, copy it again or re-encode it.",
                path=str(self._path),
                attempts=[reason for _, reason in self._deaths],
            ) from death
