"""Chunks of an AVI file: how many of a stream are empty, which is how recorders store a dropped frame."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_LISTS = {b"RIFF", b"LIST"}


def empty_chunks(path: Path, stream_index: int) -> int:
    """Number of chunks without data of stream `stream_index` that are in the file, read from the chunks' headers.

    Chunks are 4 bytes of name (two digits of the stream, then the kind such as `dc`), 4 bytes of size and the data,
    padded to even sizes; `LIST`, and `RIFF` for the second and later gigabytes (OpenDML), hold chunks themselves. What
    follows an unreadable header is not counted.
    """
    try:
        with path.open("rb") as file:
            return _count(file, path.stat().st_size, f"{stream_index:02d}".encode())
    except OSError:
        return 0


def _count(file: BinaryIO, file_bytes: int, stream: bytes) -> int:
    empty, position, in_movie = 0, 0, False
    while position + 8 <= file_bytes:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        if name in _LISTS:
            kind = file.read(4)
            if kind in (b"movi", b"rec ") or name == b"RIFF":
                in_movie = kind != b"AVI " and name != b"RIFF"
                position += 12  # the chunks in it are the next ones
                continue
            in_movie = in_movie and kind == b"movi"
        elif not name.isalnum() and not name.strip().isalnum():
            break
        elif in_movie and name[:2] == stream and name[2:] in (b"dc", b"db") and size == 0:
            empty += 1
        position += 8 + size + size % 2
    return empty
