"""The elements of a Matroska or WebM file: where its structure breaks, which FFmpeg's reader skips without a word."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ELEMENTS = {
    # RFC 9559: the children of Segment and Cluster, and what may stand anywhere
    *(0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469, 0xEC, 0xBF),
    *(0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xAF),
}
_MOST_BEFORE_SEGMENT = 8
_MASKS = (1 << 7, 1 << 14, 1 << 21, 1 << 28, 1 << 35, 1 << 42, 1 << 49, 1 << 56)


def structure_fault(path: Path) -> str | None:
    """Where the elements of the file break off, or how many bytes it lacks; None where it is sound or unreadable.

    What follows the end of the segment is no part of the video.
    """
    try:
        with path.open("rb") as file:
            return _fault(file, path.stat().st_size)
    except OSError:
        return None


def missing_bytes(path: Path) -> int:
    """Bytes that the file lacks by its own statement, read from its first elements; 0 where it states nothing."""
    try:
        with path.open("rb") as file:
            return max(_stated_end(file) - path.stat().st_size, 0)
    except OSError:
        return 0


def _stated_end(file: BinaryIO) -> int:
    """Byte at which the segment ends; 0 where it is unknown."""
    position = 0
    for _ in range(_MOST_BEFORE_SEGMENT):
        file.seek(position)
        if (header := _header(file.read(12))) is None:
            return 0
        element, header_bytes, size = header
        position += header_bytes + (size or 0)
        if element == _SEGMENT:
            return position if size is not None else 0
    return 0


def _header(data: bytes) -> tuple[int, int, int | None] | None:
    """(id, bytes of the header, bytes of the content or None where the writer did not know); None: no element."""
    id_bytes = 9 - data[0].bit_length() if data else 9
    first = data[id_bytes] if len(data) > id_bytes else 0
    if id_bytes > 4 or not first:
        return None
    size_bytes = 9 - first.bit_length()
    size = int.from_bytes(data[id_bytes : id_bytes + size_bytes], "big") - _MASKS[size_bytes - 1]
    known = size != _MASKS[size_bytes - 1] - 1  # all ones: the writer did not know it
    return int.from_bytes(data[:id_bytes], "big"), id_bytes + size_bytes, size if known else None


def _fault(file: BinaryIO, file_bytes: int) -> str | None:
    position, segment_end = 0, file_bytes
    while position < min(file_bytes, segment_end):
        file.seek(position)
        header = _header(file.read(12))
        if header is None or header[0] not in _ELEMENTS | {_SEGMENT, _CLUSTER}:
            return f"its structure breaks at byte {position:,}"
        element, header_bytes, size = header
        position += header_bytes
        if element == _SEGMENT and size is not None:
            segment_end = position + size
        if element not in (_SEGMENT, _CLUSTER):
            position += size or 0
    if segment_end > file_bytes:
        return f"it lacks {segment_end - file_bytes:,} bytes"
    return None
