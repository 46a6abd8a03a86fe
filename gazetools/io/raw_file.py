"""Files that libraries write into which cannot cope with a full disk, such as HDF5 and torch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any


class ErrorHidingFile(io.RawIOBase):
    """Hide write errors from a library; `raise_error` reports them after closing.

    HDF5 would crash the process at exit, torch.save would report an internal error.

    The file is created or emptied, and neither buffered nor fsynced here.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = self._file.readinto(view) or 0
        view[count:] = bytes(len(view) - count)
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while self._error is None and done < len(view):
            try:
                done += self._file.write(view[done:])
            except OSError as error:
                self._error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        if self._error is None:
            try:
                return self._file.truncate(size)
            except OSError as error:
                self._error = error
        return size or 0

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def raise_error(self) -> None:
        """Raise the first OSError of a write, if there was one."""
        if self._error is not None:
            raise self._error
