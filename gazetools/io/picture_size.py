"""Width and height of a picture as stored, from the first kilobytes of a JPEG or PNG: no pixel is decoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

from gazetools.schemas.errors import VideoError

_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # ITU-T T.81, table B.1
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_MOST_SEGMENTS = 10_000


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, not turned by EXIF. Raises VideoError for a file that is missing or no picture."""
    try:
        with path.open("rb") as file:
            start = file.read(24)
            if start.startswith(b"\x89PNG\r\n\x1a\n") and len(start) == 24:
                width, height = struct.unpack(">II", start[16:24])
                return int(width), int(height)
            if start.startswith(b"\xff\xd8") and (found := _jpeg_size(file)):
                return found
    except OSError as error:
        raise VideoError(
            f"The picture {path} is missing or can't be read: {error.strerror}.", hint="Check --images.", path=str(path)
        ) from None
    return _decoded_size(path)


def _jpeg_size(file: IO[bytes]) -> tuple[int, int] | None:
    file.seek(2)
    for _ in range(_MOST_SEGMENTS):
        head = file.read(2)
        if len(head) < 2 or head[0] != 0xFF:
            return None
        if head[1] == 0xFF:  # padding before a marker
            file.seek(-1, 1)
            continue
        if head[1] in _ALONE:
            continue
        (length,) = struct.unpack(">H", file.read(2).ljust(2, b"\0"))
        if head[1] in _FRAME_MARKERS:
            body = file.read(5)
            if len(body) < 5:
                return None
            height, width = struct.unpack(">HH", body[1:])
            return (width, height) if width and height else None
        file.seek(max(0, length - 2), 1)
    return None


def _decoded_size(path: Path) -> tuple[int, int]:
    import cv2

    picture = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise VideoError(f"The picture {path} is missing or can't be read.", hint="Check --images.", path=str(path))
    return picture.shape[1], picture.shape[0]
