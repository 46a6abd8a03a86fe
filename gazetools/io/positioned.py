"""Reads at given offsets of one file, without the position that threads and forked workers would share."""

from __future__ import annotations

import os
from pathlib import Path

from gazetools.io.closing import Closing
from gazetools.schemas.errors import DataFileError


class PositionedFile(Closing):
    """An open file; where it is cut meanwhile, reads raise DataFileError with `hint` (a memory map dies of SIGBUS)."""

    def __init__(self, path: Path, *, hint: str) -> None:
        self.path = path
        self._hint = hint
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` from `offset` on."""
        done = 0
        while done < len(buffer):
            count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            if count == 0:
                raise DataFileError(f"{self.path} became shorter while it was being read.", hint=self._hint)
            done += count

    def advise(self, offset: int, length: int, advice: str) -> None:
        """Tell the kernel what will be read, such as `POSIX_FADV_WILLNEED`; nothing where it takes no advice."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, offset, length, getattr(os, advice))

    def close(self) -> None:
        """Close the descriptor; may be called twice."""
        if getattr(self, "_descriptor", -1) >= 0:  # absent where opening failed
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()
