"""Decode in a disposable process: a hang, a crash or a leak in native code costs at most one video."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.extraction.costs import cost_by_size
from gazetools.extraction.decode_child import OUT_OF_MEMORY_EXIT
from gazetools.extraction.processes import end_process, how_it_ended, receive, send, start_child
from gazetools.schemas.errors import ERRORS_BY_CODE, UsageError, VideoError
from gazetools.schemas.video import Frame, VideoInfo

_ATTEMPTS = 3
"""Deaths of the decoding process at one place of a video before that video is given up."""
_PROGRESS_FRAMES = 256
"""A death this many frames after the last one counts as the first again: a slow leak is no broken video."""
_VIDEOS_PER_CHILD = 50
_RING_BYTES = 1 << 30
"""The ring stays below this unless one batch alone is larger."""
_READ_BYTES_PER_SECOND = 10 << 20
"""What a slow network disk gives at least: opening reads every packet of the file, so its time limit grows with it."""
_SKIP_FRAMES_PER_SECOND = 20.0
"""At least so fast are frames skipped that nobody wants (4K on one core gives 58/s)."""


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """How videos are decoded; none of it changes a frame."""

    timeout_seconds: float = 60.0
    """Longest wait for one frame; opening may take longer for large files."""
    memory_bytes: int | None = None
    """RLIMIT_AS of the decoding process; None: no limit."""
    threads: int = 0
    """Decoder threads, 0 = one per core."""
    reader: str = "gazetools.video:VideoReader"
    """`module:class` with the interface of VideoReader, imported in the decoding process."""


class DecoderDied(Exception):
    """The decoding process crashed, hung or ran out of memory; the text says which."""


class Decoder:
    """Owner of one decoding process at a time: started ahead, recycled, killed and replaced as needed."""

    def __init__(self, settings: DecodeSettings | None = None) -> None:
        self.settings = settings or DecodeSettings()
        self.busy_seconds = 0.0
        """Time the child spent on decoding and converting frames."""
        self.deaths = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._videos = 0
        self._ring_fd = _anonymous_memory()
        self._start()  # now, so that its imports overlap with loading the model

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child and free the ring."""
        self.stop()
        if self._ring_fd >= 0:
            os.close(self._ring_fd)
            self._ring_fd = -1

    def open(self, path: Path, *, batch_size: int) -> ChildReader:
        """Open a video for reading in batches of up to `batch_size` frames.

        Raises VideoError where it can't be read, also after repeated deaths of the decoding process.
        """
        if self._videos >= _VIDEOS_PER_CHILD:  # decoders leak; a fresh process forgets
            self.stop()
        self._videos += 1
        return ChildReader(self, path, batch_size=batch_size)

    def estimate(self, path: Path) -> int:
        """Declared frames x pixels (`declared_cost`); by file size where the container can't be opened."""
        try:
            self.ask(do="estimate", path=str(path))
            return int(self.answer(self.settings.timeout_seconds)["cost"])
        except (DecoderDied, UsageError):
            return cost_by_size(path)

    # what ChildReader needs

    def ask(self, **message: Any) -> None:
        """Send a request, to a new child if there is none; DecoderDied where it can't be sent."""
        if self._process is None:
            self._start()
        assert self._channel is not None
        try:
            send(self._channel, **message)
        except (BrokenPipeError, ConnectionError):
            raise self._died() from None

    def tell(self, **message: Any) -> None:
        """Send a note to the child that is there. One that is gone is noticed when its answer is waited for; a new one
        must not be started for it, since that would be waited for in vain."""
        if self._channel is not None:
            with suppress(BrokenPipeError, ConnectionError):
                send(self._channel, **message)

    def ask_bytes(self, data: bytes) -> None:
        """Send the bytes that belong to the request before."""
        assert self._channel is not None
        try:
            self._channel.send_bytes(data)
        except (BrokenPipeError, ConnectionError):
            raise self._died() from None

    def answer(self, timeout_seconds: float) -> dict[str, Any]:
        """The child's next message. DecoderDied where it died or did not answer in time; the child's error else."""
        message = self._next(timeout_seconds, receive)
        if message["is"] == "error":
            raise _as_error(message)
        return message

    def answer_bytes(self, timeout_seconds: float) -> bytes:
        """The bytes that belong to the message before."""
        return self._next(timeout_seconds, lambda channel: channel.recv_bytes())

    def ring(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """The shared memory as uint8 `shape`; arrays made from it stay valid after the child has gone."""
        size = int(np.prod(shape))  # the child has made it as large
        return np.frombuffer(mmap.mmap(self._ring_fd, size), np.uint8).reshape(shape)

    def stop(self) -> None:
        """End the child; the next request starts another."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            end_process(self._process)
            self._process = None
        self._videos = 0

    def _next(self, timeout_seconds: float, take: Any) -> Any:
        if self._channel is None:
            raise DecoderDied("the decoding process is gone")
        try:
            if not self._channel.poll(timeout_seconds):
                self.stop()
                self.deaths += 1
                raise DecoderDied(f"the decoder gave no answer in {timeout_seconds:.0f} s and was killed")
            return take(self._channel)
        except (EOFError, ConnectionError):
            raise self._died() from None

    def _died(self) -> DecoderDied:
        assert self._process is not None
        words = how_it_ended(self._process)
        if self._process.returncode == OUT_OF_MEMORY_EXIT:
            limit = self.settings.memory_bytes
            words = "ran out of memory" + (f" (limit {limit / 2**30:.3g} GiB)" if limit else "")
        self.stop()
        self.deaths += 1
        return DecoderDied(f"the decoding process {words}")

    def _start(self) -> None:
        # a new ring for every child: a dying one must not write into slots that are still being read
        if self._ring_fd >= 0:
            os.close(self._ring_fd)
        self._ring_fd = _anonymous_memory()
        self._process, self._channel = start_child(
            "gazetools.extraction.decode_child",
            str(self._ring_fd),
            self.settings.reader,
            str(self.settings.memory_bytes or 0),
            pass_fds=(self._ring_fd,),
        )


class ChildReader:
    """A video that is open in the decoding process, read like `gazetools.video.VideoReader`.

    Frames live in shared memory and are valid until `release`; at most `batch_size` may be held at a time.
    """

    def __init__(self, decoder: Decoder, path: Path, *, batch_size: int) -> None:
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
        self._open()

    def __enter__(self) -> ChildReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A child that is still busy with frames nobody wants is ended instead."""
        if not self._whole:
            self._decoder.stop()
            return
        self._decoder.tell(do="close")

    @property
    def decode_seconds(self) -> float:
        """Time the decoding process spent on frames so far, over all videos."""
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

    def _open(self) -> None:
        limit = self._decoder.settings.timeout_seconds
        with suppress(OSError):
            limit += self._path.stat().st_size / _READ_BYTES_PER_SECOND
        while True:
            try:
                self._decoder.ask(do="open", path=str(self._path), threads=self._decoder.settings.threads)
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


def _anonymous_memory() -> int:
    """Descriptor of shared memory without a name: whatever is killed, the kernel frees it with the last user."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gazetools-frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _as_error(message: dict[str, Any]) -> Exception:
    if message["code"] in ERRORS_BY_CODE:
        return ERRORS_BY_CODE[message["code"]](message["message"], hint=message.get("hint"))
    return VideoError(f"The decoder failed on this video: {message['message']}.")
