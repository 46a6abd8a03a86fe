"""Room on the disk, checked before the work: free bytes and free files (inodes)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gazetools.schemas.errors import FaultError

BLOCK_BYTES = 4096
"""Block size of most file systems: a file takes whole blocks."""


@dataclass(frozen=True, kw_only=True)
class FreeSpace:
    """Free space of a file system for this user; quotas that it does not report are not included."""

    bytes: int
    files: int | None
    """None where the file system does not count its files (btrfs, FAT and others)."""


def free_space(folder: Path) -> FreeSpace:
    """Free space at the place where `folder` is, or will be made."""
    place = folder.absolute()
    while not os.path.exists(place):  # noqa: PTH110 - Path.exists raises where a parent may not be looked into
        place = place.parent
    status = os.statvfs(place)
    return FreeSpace(bytes=status.f_bavail * status.f_frsize, files=status.f_favail if status.f_files else None)


def blocks(size_bytes: int) -> int:
    """Bytes on the disk of a file of `size_bytes`.

    >>> blocks(8320)
    12288
    """
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def check_space(
    folder: Path, *, needed_bytes: int, needed_files: int, what: str, hint: str, files_hint: str | None = None
) -> None:
    """Raise FaultError (exit 4) with the need, what is free and the hint where `folder` has no room for the work.

    `folder` need not exist yet. The needs are the most at any moment, files with folders included. `what` is the
    subject of the message; `files_hint` replaces `hint` where files are missing.
    """
    free = free_space(folder)
    if needed_bytes > free.bytes:
        raise FaultError(
            f"{what} needs {size_text(needed_bytes)}, {size_text(free.bytes)} are free for {folder}.",
            hint=hint,
            folder=str(folder),
            needed_bytes=needed_bytes,
            free_bytes=free.bytes,
        )
    if free.files is not None and needed_files > free.files:
        raise FaultError(
            f"{what} needs {needed_files:,} files, {free.files:,} (inodes) are free for {folder}.",
            hint=files_hint or hint,
            folder=str(folder),
            needed_files=needed_files,
            free_files=free.files,
        )


def size_text(size_bytes: float) -> str:
    """A size in bytes as text, in powers of 1000.

    >>> size_text(38_900_000), size_text(940_000_000_000)
    ('38.90 MB', '940.00 GB')
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.2f} {unit}"
    return f"{size_bytes / 1e3:.1f} kB"
