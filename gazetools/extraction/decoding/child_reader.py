"""Read a video that is open in the decoding process; go on in a new process where that one dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.extraction.decoding.process import DecoderDied, DecodingProcess
from gazetools.io.closing import Closing
from gazetools.schemas.errors import VideoError
from gazetools.schemas.video import Frame, VideoInfo

_ATTEMPTS = 3
"""Deaths of the decoding process at one place of a video before that video is given up."""
_PROGRESS_FRAMES = 256
"""A death this many frames after the last one counts as the first again: a slow leak is no broken video."""
_RING_BYTES = 1 << 30
"""The ring stays below this unless one batch alone is larger."""
_READ_BYTES_PER_SECOND = 10 << 20
"""What a slow network disk gives at least: opening reads every packet of the file, so its time limit grows with it."""
_SKIP_FRAMES_PER_SECOND = 20.0
"""At least so fast are frames skipped that nobody wants (4K on one core gives 58/s)."""


class ChildReader(Closing):
    """A video that is open in the decoding process, read like `gazetools.video.VideoReader`.

    Frames live in shared memory and are valid until `release`; at most `batch_size` may be held at a time.
    """

    def __init__(self, decoder: DecodingProcess, path: Path, *, batch_size: int, opening: bool = False) -> None:
        """`opening`: the process has been asked to open `path` already."""
        self._decoder = decoder
        self._path = path
        self._batch_size = batch_size
        self._deaths: list[tuple[int, str]] = []
        """(frame, reason) of the deaths at about one place."""
        self._slot_of: dict[int, int] = {}
        self._whole = True
        """False while frames are under way that nobody will take."""
        self.info: VideoInfo
        self.pts_seconds: npt.NDArray[np.float64]
        """float64 [frame_count]."""
        self.counted_by: str
        """`index` or `decoding`, as VideoReader's."""
        self.damage: tuple[str, ...]
        self._open(asked=opening)

    def close(self) -> None:
        """Close the file. A child that is still busy with frames nobody wants is ended instead."""
        if not self._whole:
            self._decoder.stop()
            return
        self._decoder.tell(do="close")

    @property
    def decode_seconds(self) -> float:
        """Time this decoding process spent on frames so far, over all videos."""
        return self._decoder.busy_seconds

    @property
    def frame_count(self) -> int:
        """Frames that decode, never the container's claim."""
        return len(self.pts_seconds)

    def frames(self, wanted: npt.NDArray[np.int64]) -> Iterator[Frame]:
        """Yield the frames `wanted` (strictly ascending); `rgb` is a view of shared memory, valid until `release`.

        A decoding process that dies is replaced and goes on at the first frame that had not come. Raises VideoError
        where a frame can't be decoded or the process dies three times at about one place.
        """
        position = 0
        while position < len(wanted):
            try:
                for frame in self._run(wanted[position:]):
                    position += 1
                    yield frame
            except DecoderDied as death:
                self._count(death, int(wanted[position]))
                self._open()

    def release(self, frame: Frame) -> None:
        """Give the memory of `frame` back for another one."""
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
                    threads = self._decoder.settings.threads
                    self._decoder.ask(do="open", path=str(self._path), threads=threads, read_ahead=None)
                asked = False
                facts = self._decoder.answer(limit)
                pts = np.frombuffer(self._decoder.answer_bytes(limit), np.float64)
                break
            except DecoderDied as death:
                self._count(death, self._deaths[-1][0] if self._deaths else -1)
        info = facts["info"]
        info |= {name: Fraction(info[name]) for name in ("rate", "time_base")}
        self.info, self.pts_seconds = VideoInfo(**info), pts
        self.counted_by, self.damage = facts["counted_by"], tuple(facts["damage"])

    def _run(self, wanted: npt.NDArray[np.int64]) -> Iterator[Frame]:
        slots, decoder = self._slots(), self._decoder
        self._slot_of.clear()
        self._whole = False
        decoder.ask(do="frames", slots=slots)
        decoder.ask_bytes(np.ascontiguousarray(wanted, np.int64).tobytes())
        ring: npt.NDArray[np.uint8] | None = None
        before = -1
        last = int(wanted[-1])
        for index in wanted.tolist():
            message = decoder.answer(decoder.settings.timeout_seconds + (index - before) / _SKIP_FRAMES_PER_SECOND)
            before = index
            if ring is None:  # mapped after the child has made it as large
                ring = decoder.ring((slots, self.info.height, self.info.width, 3))
            decoder.busy_seconds += message["busy"]
            self._slot_of[message["index"]] = message["slot"]
            if index == last:  # taken now: a consumer that counts its frames never asks beyond the last
                decoder.answer(decoder.settings.timeout_seconds)
                self._whole = True
            yield Frame(index=message["index"], pts_seconds=message["pts"], rgb=ring[message["slot"]])

    def _slots(self) -> int:
        """Two batches and a little: one is computed while the next is decoded. Never fewer than one batch needs."""
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
