"""A shard that is being written: its bytes are hashed by another thread, and it has its name only when complete."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from gazetools.io.atomic import temp_path_for, write_error
from gazetools.io.folders import make_folder

_CHUNK = 8 << 20
_HASHED_LATER = 8
"""So many blocks may wait for their hash: memory stays bounded where the disk is faster."""
_SENT_BYTES = 16 << 20
"""After so many bytes the kernel is asked to write them: it would begin at the fsync, when all hashing is over."""


class OpenShard:
    """An unfinished shard. Its methods raise FaultError where the disk refuses.

    Args:
        final: the name of the shard once it is complete.
        hashing: an executor of one thread, so that the hash sees the bytes in their order.
    """

    def __init__(self, final: Path, hashing: Executor) -> None:
        self.final = final
        self._hashing = hashing
        self._temp = temp_path_for(final)
        self._digest = hashlib.sha256()
        self._waiting: deque[Future[None]] = deque()
        self._hashed = self._sent = 0
        with self._faults():
            make_folder(final.parent)
            self._file: IO[bytes] = self._temp.open("w+b")

    def write(self, data: bytes) -> None:
        """Append `data`."""
        with self._faults():
            self._file.write(data)
        self._waiting.append(self._hashing.submit(self._take_in, data))
        if len(self._waiting) > _HASHED_LATER:
            self._waiting.popleft().result()

    def copy_head(self, source: Path, size: int) -> None:
        """Append the first `size` bytes of another shard."""
        with source.open("rb") as file:
            for part in _parts(file, size):
                self.write(part)

    def truncate(self, size: int) -> None:
        """Cut everything behind the first `size` bytes."""
        self._settle()
        self._digest = hashlib.sha256()
        self._hashed = self._sent = size
        with self._faults():
            self._file.truncate(size)
            self._file.seek(0)
            for part in _parts(self._file, size):
                self._digest.update(part)

    def finish(self) -> tuple[str, int]:
        """(sha256, bytes) of the complete shard, which now has its name."""
        self._settle()
        with self._faults():
            size = self._file.tell()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temp.replace(self.final)
        return self._digest.hexdigest(), size

    def discard(self) -> None:
        """Remove the file, unless it was finished; may be called twice."""
        wait(self._waiting)
        with suppress(OSError):
            self._file.close()
        self._temp.unlink(missing_ok=True)

    def _take_in(self, data: bytes) -> None:
        """Hash the next bytes and, now and then, let the kernel write what was hashed; called by the hashing thread."""
        self._digest.update(data)
        self._hashed += len(data)
        if self._hashed - self._sent >= _SENT_BYTES and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), self._sent, self._hashed - self._sent, os.POSIX_FADV_DONTNEED)
            self._sent = self._hashed

    def _settle(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(error, self.final) from error


def _parts(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The next `size` bytes of `file`, in parts of 8 MiB. OSError where it is shorter."""
    while size:
        part = file.read(min(size, _CHUNK))
        if not part:
            raise OSError(f"{file.name} became shorter while it was being read")
        size -= len(part)
        yield part
