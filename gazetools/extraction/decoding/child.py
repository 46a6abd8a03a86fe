"""The decoding process: it reads videos on request and writes their frames into a ring of shared memory."""

from __future__ import annotations

import importlib
import inspect
import mmap
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.io.child_process import enter_child, receive, send
from gazetools.schemas.errors import FaultError, GazetoolsError
from gazetools.schemas.video import Frame

OUT_OF_MEMORY_EXIT = 77
"""Exit code of the child where its memory limit or the machine's memory ran out; a new child may succeed."""
_AHEAD_BYTES = 256 << 20
"""Most memory for frames that are read ahead."""


@dataclass
class _Ahead:
    """The frames `wanted`: the first ones are decoded and `ready`, `rest` decodes the others."""

    wanted: npt.NDArray[np.int64]
    ready: deque[Frame]
    rest: Iterator[Frame]

    def frames(self) -> Iterator[Frame]:
        """All frames; a frame that has been yielded is no longer kept here."""
        while self.ready:
            yield self.ready.popleft()
        yield from self.rest


class _Child:
    """State between requests: one open reader and the ring."""

    def __init__(self, channel: Connection, ring_fd: int, reader: str) -> None:
        self._channel = channel
        self._ring_fd = ring_fd
        module, _, name = reader.partition(":")
        self._reader_class: Any = getattr(importlib.import_module(module), name)
        self._reader: Any = None
        self._ahead: _Ahead | None = None

    def serve(self) -> None:
        """Answer requests until the parent ends, which raises EOFError or ConnectionError."""
        while True:
            request = receive(self._channel)
            kind = request.pop("do")
            if kind == "free":  # a slot that was released after the last frame was sent
                continue
            try:
                getattr(self, f"_do_{kind}")(**request)
            except GazetoolsError as error:
                if "allocate memory" in str(error) and not isinstance(error, FaultError):  # FFmpeg's ENOMEM
                    raise MemoryError(str(error)) from error
                send(self._channel, **{"is": "error", "code": error.code, "message": error.message, "hint": error.hint})
            except (EOFError, ConnectionError, MemoryError):
                raise
            except Exception as error:
                send(self._channel, **{"is": "error", "code": "bug", "message": f"{type(error).__name__}: {error}"})

    def _do_open(self, path: str, threads: int, options: dict[str, Any], read_ahead: dict[str, Any] | None) -> None:
        self._do_close()
        if "allow_damaged" not in inspect.signature(self._reader_class).parameters:  # it leaves out nothing, and raises
            options.pop("allow_damaged", None)
        self._reader = self._reader_class(path, threads=threads, **options)
        info = asdict(self._reader.info)
        info |= {name: str(info[name]) for name in ("rate", "time_base")}
        pts = np.ascontiguousarray(self._reader.pts_seconds, np.float64)
        facts = {"counted_by": self._reader.counted_by, "damage": list(self._reader.damage)}
        facts["remarks"] = [remark.text for remark in getattr(self._reader, "remarks", ())]
        send(self._channel, **{"is": "opened", "info": info, **facts})
        self._channel.send_bytes(pts.tobytes())
        if read_ahead is not None:
            self._read_ahead(pts, **read_ahead)

    def _read_ahead(self, pts_seconds: npt.NDArray[np.float64], frames: int, **chosen_by: Any) -> None:
        """Decode the frames that will probably be requested first, until a request arrives."""
        from gazetools.sampling import choose_frames

        info = self._reader.info
        try:
            wanted = choose_frames(pts_seconds, **chosen_by)
            ahead = _Ahead(wanted, deque(), self._reader.frames(wanted))
            most = min(frames, len(wanted), _AHEAD_BYTES // (info.width * info.height * 3))
            while len(ahead.ready) < most and not self._channel.poll():
                if (frame := next(ahead.rest, None)) is None:
                    break
                ahead.ready.append(frame)
        except MemoryError:
            raise
        except Exception:
            return  # the same error is raised, and reported, when these frames are requested
        self._ahead = ahead

    def _do_estimate(self, path: str, times: dict[str, str]) -> None:
        from gazetools.extraction.decoding.costs import declared
        from gazetools.schemas.picture_times import PictureTimes

        send(self._channel, **{"is": "estimate", **asdict(declared(Path(path), PictureTimes(**times)))})

    def _do_frames(self, slots: int) -> None:
        """Send the frames whose int64 indices follow as bytes; each frame waits for a free slot."""
        wanted = np.frombuffer(self._channel.recv_bytes(), np.int64)
        info = self._reader.info
        shape = (slots, info.height, info.width, 3)
        size = int(np.prod(shape))
        try:
            os.ftruncate(self._ring_fd, max(size, os.fstat(self._ring_fd).st_size))
            ring = np.frombuffer(mmap.mmap(self._ring_fd, size), np.uint8).reshape(shape)
        except OSError as error:
            raise FaultError(f"No shared memory for {slots} frames ({size / 2**20:.0f} MiB): {error}.") from error
        free = deque(range(slots))
        ahead, self._ahead = self._ahead, None
        if ahead is not None and np.array_equal(ahead.wanted, wanted):
            frames = ahead.frames()
        else:
            frames = self._reader.frames(wanted)
        for _ in wanted:
            while not free or self._channel.poll():
                message = receive(self._channel)
                if message["do"] != "free":
                    raise RuntimeError(f"{message['do']!r} asked for while frames were being read")
                free.append(message["slot"])
            slot = free.popleft()
            began = time.perf_counter()
            if (frame := next(frames, None)) is None:  # the last ones can't be decoded, and that is allowed
                break
            ring[slot] = frame.rgb
            busy = round(time.perf_counter() - began, 6)
            facts = {"index": int(frame.index), "pts": float(frame.pts_seconds), "slot": slot, "busy": busy}
            send(self._channel, **{"is": "frame", **facts})
        send(self._channel, **{"is": "end"})

    def _do_close(self) -> None:
        self._ahead = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def main(arguments: list[str]) -> int:
    """Arguments: FD PARENT RING_FD READER MEMORY_BYTES; started by `Decoder`."""
    channel = enter_child(arguments)
    ring_fd, reader, memory_bytes = int(arguments[2]), arguments[3], int(arguments[4])
    if memory_bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    try:
        _Child(channel, ring_fd, reader).serve()
    except (EOFError, ConnectionError):
        return 0
    except MemoryError:
        os._exit(OUT_OF_MEMORY_EXIT)  # no clean-up that would need memory
    return 1
