"""What tells whether a file was written again while it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class FileStamp(NamedTuple):
    """Time and size of a file."""

    mtime_ns: int
    size: int

    def __str__(self) -> str:
        return f"{self.mtime_ns}-{self.size}"


def stamp_of(path: Path) -> FileStamp | None:
    """The stamp of a file or folder now; None: it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileStamp(status.st_mtime_ns, status.st_size)
