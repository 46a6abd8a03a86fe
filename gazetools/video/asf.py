"""The size that an ASF file (WMV) states in its header: what a cut one lacks."""

from __future__ import annotations

import struct
from pathlib import Path

_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_HEADER_BYTES = 1 << 16
_SIZE_AT, _FLAGS_AT, _LONGEST = 40, 88, 104
"""Places of the size of the file and of the flags in the object, and its length (ASF 1.2, section 3.2)."""
_BROADCAST = 1


def lacking_bytes(path: Path) -> int:
    """Bytes that the file lacks by its own header; 0 where it states nothing, as the recording of a broadcast does."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        size = path.stat().st_size
    except OSError:
        return 0
    place = header.find(_FILE_PROPERTIES)
    if place < 0 or place + _LONGEST > len(header):
        return 0
    (stated,) = struct.unpack_from("<Q", header, place + _SIZE_AT)
    (flags,) = struct.unpack_from("<I", header, place + _FLAGS_AT)
    return 0 if flags & _BROADCAST else max(int(stated) - size, 0)
