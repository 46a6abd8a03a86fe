"""The parent's side of a decoding process: start and replace it, send requests, wait for answers with time limits."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gazetools.extraction.decoding.child import OUT_OF_MEMORY_EXIT
from gazetools.io.child_process import end_process, how_it_ended, receive, send, start_child
from gazetools.schemas.errors import ERRORS_BY_CODE, VideoError
from gazetools.schemas.picture_times import PictureTimes
from gazetools.schemas.video import HdrRule

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """Settings of decoding; only `hdr` changes pixels, and only those of HDR video; `times` those of folders."""

    timeout_seconds: float = 60.0
    """Longest wait for one frame; opening a large file may take longer."""
    memory_bytes: int | None = None
    """RLIMIT_AS of the decoding process; None: no limit."""
    threads: int = 0
    """Number of decoder threads; 0: one per core."""
    hdr: HdrRule = "tonemap"
    times: PictureTimes = field(default_factory=PictureTimes)
    """When the pictures in folders of frames were taken; its tables are absolute paths."""
    allow_damaged: bool = False
    """Whether frames that can't be decoded are left out, instead of ending the video."""
    reader: str = "gazetools.video:VideoReader"
    """`module:class` with the interface of VideoReader, which the decoding process imports. Keyword arguments that
    differ from their default here are passed on, so a class that takes none but `threads` does for the defaults."""

    @property
    def of_reader(self) -> dict[str, Any]:
        """The keyword arguments for the reader that differ from their defaults."""
        found: dict[str, Any] = {} if self.hdr == "tonemap" else {"hdr": self.hdr}
        return found | dict(self.times.for_reader()) | ({"allow_damaged": True} if self.allow_damaged else {})


_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""For glibc's mallopt(3): keep the memory of freed frames for the next ones. The kernel clears new memory page by page,
measured at 2.5 to 3.5 ms per 1080p frame, a third of decoding it. 32 MiB is glibc's limit."""
_START_SECONDS = 30.0
"""Additional time for the first answer of a new child, for a busy machine or libraries on a network disk."""


class DecoderDied(Exception):
    """The decoding process crashed, hung or ran out of memory; the text says which."""


class DecodingProcess:
    """One child at a time with its ring of shared memory; a request starts a child where there is none."""

    def __init__(self, settings: DecodeSettings) -> None:
        self.settings = settings
        self.busy_seconds = 0.0
        """Seconds that the children have spent on decoding and converting frames."""
        self.deaths = 0
        self.videos = 0
        """Number of videos that the present child was asked to open; the owner counts them."""
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._ring_fd = -1
        self._answered = False
        self._start()  # now, so that its imports overlap with loading the model

    def close(self) -> None:
        """End the child and free the ring."""
        self.stop()
        if self._ring_fd >= 0:
            os.close(self._ring_fd)
            self._ring_fd = -1

    def ask(self, data: bytes | None = None, **message: Any) -> None:
        """Send a request and its bytes, to a new child if there is none; DecoderDied where it can't be sent."""
        if self._process is None:
            self._start()
        assert self._channel is not None
        try:
            send(self._channel, **message)
            if data is not None:
                self._channel.send_bytes(data)
        except ConnectionError:
            raise self._died() from None

    def ask_to_open(self, path: Path, *, read_ahead: dict[str, Any] | None = None) -> None:
        """Send the request to open a video, and to decode `read_ahead` (as in `ReadAhead`) until another comes."""
        settings = self.settings
        how: dict[str, Any] = {"threads": settings.threads, "options": settings.of_reader, "read_ahead": read_ahead}
        self.ask(do="open", path=str(path), **how)

    def tell(self, **message: Any) -> None:
        """Send a message without starting a new child. If the child has died, the next `answer` raises."""
        if self._channel is not None:
            with suppress(ConnectionError):
                send(self._channel, **message)

    def answer(self, timeout_seconds: float) -> dict[str, Any]:
        """The next message. Raises DecoderDied where the child died or did not answer in time, or the child's error."""
        message = self._next(timeout_seconds, receive)
        if message["is"] != "error":
            return message
        if message["code"] in ERRORS_BY_CODE:
            raise ERRORS_BY_CODE[message["code"]](message["message"], hint=message.get("hint"))
        raise VideoError(f"The decoder failed on this video: {message['message']}.")

    def answer_bytes(self, timeout_seconds: float) -> bytes:
        """The bytes that belong to the previous message."""
        return self._next(timeout_seconds, lambda channel: channel.recv_bytes())

    def ring(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """The shared memory as a uint8 array of `shape`, which stays valid after the child has ended."""
        size = int(np.prod(shape))  # the child has made it as large
        return np.frombuffer(mmap.mmap(self._ring_fd, size), np.uint8).reshape(shape)

    def forget_frames(self, *, above_bytes: int) -> None:
        """Free the memory of a ring larger than `above_bytes`; frames in it become black."""
        size = os.fstat(self._ring_fd).st_size
        if size > above_bytes and hasattr(mmap, "MADV_REMOVE"):
            with mmap.mmap(self._ring_fd, size) as ring:
                ring.madvise(mmap.MADV_REMOVE)

    def stop(self) -> None:
        """End the child; the next request starts another."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            end_process(self._process)
            self._process = None
        self.videos = 0

    def _next(self, timeout_seconds: float, read: Callable[[Connection], T]) -> T:
        if self._channel is None:
            raise DecoderDied("the decoding process is gone")
        try:
            if not self._channel.poll(timeout_seconds + (0 if self._answered else _START_SECONDS)):
                self.stop()
                self.deaths += 1
                raise DecoderDied(f"the decoder gave no answer in {timeout_seconds:.0f} s and was killed")
            self._answered = True
            return read(self._channel)
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
        self._answered = False
        self._process, self._channel = start_child(
            "gazetools.extraction.decoding.child",
            str(self._ring_fd),
            self.settings.reader,
            str(self.settings.memory_bytes or 0),
            pass_fds=(self._ring_fd,),
            env=_KEEP_MEMORY,
        )


def _anonymous_memory() -> int:
    """Descriptor of shared memory without a name, which the kernel frees when its last user has ended."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gazetools-frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
