"""The parent's side of a decoding process: started and replaced as needed, asked and answered with time limits."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.extraction.decoding.child import OUT_OF_MEMORY_EXIT
from gazetools.io.child_process import end_process, how_it_ended, receive, send, start_child
from gazetools.schemas.errors import ERRORS_BY_CODE, VideoError


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


_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""For glibc's mallopt(3): memory of freed frames is kept for the next ones. Given back and asked for anew, the kernel
clears it page by page: 2.5 to 3.5 ms of CPU per 1080p frame, a third of decoding one. 32 MiB is glibc's limit."""

_START_SECONDS = 30.0
"""More time for a new child's first answer: a loaded machine, or libraries on a network disk."""


class DecoderDied(Exception):
    """The decoding process crashed, hung or ran out of memory; the text says which."""


class DecodingProcess:
    """One child at a time with its ring of shared memory; a new one is started where there is none to ask."""

    def __init__(self, settings: DecodeSettings) -> None:
        self.settings = settings
        self.busy_seconds = 0.0
        """Time the child spent on decoding and converting frames."""
        self.deaths = 0
        self.videos = 0
        """Videos that the present child was asked to open; counted by its owner."""
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._ring_fd = -1
        self._answered = False
        """The present child has started well."""
        self._start()  # now, so that its imports overlap with loading the model

    def close(self) -> None:
        """End the child and free the ring."""
        self.stop()
        if self._ring_fd >= 0:
            os.close(self._ring_fd)
            self._ring_fd = -1

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

    def forget_frames(self, *, above_bytes: int) -> None:
        """Give the pages of a ring larger than `above_bytes` back; frames still held read as black."""
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

    def _next(self, timeout_seconds: float, take: Any) -> Any:
        if self._channel is None:
            raise DecoderDied("the decoding process is gone")
        try:
            if not self._channel.poll(timeout_seconds + (0 if self._answered else _START_SECONDS)):
                self.stop()
                self.deaths += 1
                raise DecoderDied(f"the decoder gave no answer in {timeout_seconds:.0f} s and was killed")
            self._answered = True
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
    """Descriptor of shared memory without a name: whatever is killed, the kernel frees it with the last user."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gazetools-frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _as_error(message: dict[str, Any]) -> Exception:
    if message["code"] in ERRORS_BY_CODE:
        return ERRORS_BY_CODE[message["code"]](message["message"], hint=message.get("hint"))
    return VideoError(f"The decoder failed on this video: {message['message']}.")
