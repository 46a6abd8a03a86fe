"""What the bytes of a PNG, JPEG or WebP file say about their picture, and whether the file ends where it should."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

PNG, RIFF = b"\x89PNG\r\n\x1a\n", b"RIFF"
_TURNS = {1: 0, 3: 180, 6: 270, 8: 90}
"""EXIF orientation -> counter-clockwise degrees by which the stored picture is turned; the others are mirrored."""
_MOST_CHUNKS = 100_000


class PictureFault(Exception):
    """Why a picture is not used; the text goes after the name of its file."""


@dataclass(frozen=True, kw_only=True)
class PictureHeader:
    """Facts of one picture as it is stored, before it is turned."""

    kind: str
    """`png`, `jpeg` or `webp`."""
    pixel_format: str
    """Such as `rgb24`, `gray`, `rgb48`, `yuvj420p`."""
    matrix: str
    """`rgb`, or `bt601` where the pixels are YCbCr."""
    full_range: bool = True
    turn_degrees: int = 0
    """Counter-clockwise turn that its EXIF orientation asks for: 0, 90, 180 or 270."""


def picture_header(data: bytes) -> PictureHeader | None:
    """The facts of a PNG, JPEG or WebP; None for other formats.

    Raises PictureFault where the file is cut off, holds several pictures, or pixels that are no 8-bit colours.
    """
    if data.startswith(PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(RIFF) and data[8:12] == b"WEBP":
        return _webp(data)
    return None


_PNG_FORMATS = {0: "gray", 2: "rgb24", 3: "pal8", 4: "ya8", 6: "rgba"}
_PNG_DEEP = {2: "rgb48", 6: "rgba64"}


def _png(data: bytes) -> PictureHeader:
    place = len(PNG)
    chunks: dict[bytes, bytes] = {}
    for _ in range(_MOST_CHUNKS):
        if place + 12 > len(data):
            raise PictureFault("is cut off: its PNG data has no end")
        size, name = struct.unpack_from(">I4s", data, place)
        if place + 12 + size > len(data):
            raise PictureFault("is cut off inside its PNG data")
        chunks.setdefault(name, data[place + 8 : place + 8 + size] if name in (b"IHDR", b"eXIf", b"acTL") else b"")
        if name == b"IEND":
            break
        place += 12 + size
    header = chunks.get(b"IHDR", b"")
    if len(header) != 13 or header[9] not in _PNG_FORMATS:
        raise PictureFault("has a damaged PNG header")
    depth, colour = header[8], header[9]
    if b"acTL" in chunks:
        raise PictureFault("is an animation of several pictures")
    if depth == 16 and colour not in _PNG_DEEP:
        raise PictureFault("has 16-bit grey values, which are distances or heat rather than a picture")
    form = _PNG_DEEP[colour] if depth == 16 else _PNG_FORMATS[colour]
    return PictureHeader(kind="png", pixel_format=form, matrix="rgb", turn_degrees=_turn(chunks.get(b"eXIf", b"")))


_SUBSAMPLING = {(2, 2): "yuvj420p", (2, 1): "yuvj422p", (1, 1): "yuvj444p", (1, 2): "yuvj440p", (4, 1): "yuvj411p"}
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def _jpeg(data: bytes) -> PictureHeader:
    form, turn, place = "", 0, 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            raise PictureFault("has damaged JPEG data")
        marker = data[place + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:  # padding, restarts
            place += 1 if marker == 0xFF else 2
            continue
        size = struct.unpack_from(">H", data, place + 2)[0]
        if place + 2 + size > len(data):
            break
        body = data[place + 4 : place + 2 + size]
        if marker in _FRAME_MARKERS:
            form = _jpeg_form(body)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            turn = _turn(body[6:])
        elif marker == 0xDA:  # the pictures' data: in it, FF D9 is nothing but the end
            if not form or data.rfind(b"\xff\xd9", place) < 0:
                break
            matrix = "rgb" if form == "gray" else "bt601"
            return PictureHeader(kind="jpeg", pixel_format=form, matrix=matrix, turn_degrees=turn)
        place += 2 + size
    raise PictureFault("is cut off: its JPEG data has no end")


def _jpeg_form(body: bytes) -> str:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise PictureFault("has a damaged JPEG header")
    if body[0] != 8:
        raise PictureFault(f"has {body[0]}-bit JPEG data; 8 bits are read")
    if body[5] == 4:
        raise PictureFault("is a CMYK picture, for print: which colours a screen shows of it is not stated")
    if body[5] == 1:
        return "gray"
    return _SUBSAMPLING.get((body[7] >> 4, body[7] & 15), "yuvj")


def _webp(data: bytes) -> PictureHeader:
    turn, form = 0, ""
    for name, size, place in _riff_chunks(data):
        if place + size > len(data):
            raise PictureFault("is cut off inside its WebP data")
        if name == b"ANMF" or (name == b"VP8X" and data[place] & 2):
            raise PictureFault("is an animation of several pictures")
        if name in (b"VP8 ", b"VP8L"):
            form = "yuv420p" if name == b"VP8 " else "rgba"
        elif name == b"EXIF":
            turn = _turn(data[place : place + size].removeprefix(b"Exif\0\0"))
    if not form or struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise PictureFault("is cut off: its WebP data has no end")
    lossy = form == "yuv420p"
    matrix = "bt601" if lossy else "rgb"
    return PictureHeader(kind="webp", pixel_format=form, matrix=matrix, full_range=not lossy, turn_degrees=turn)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, size, place of the content) of each chunk."""
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        yield name, size, place + 8
        place += 8 + size + size % 2


def _turn(exif: bytes) -> int:
    """The turn in degrees that the orientation of an EXIF block asks for; PictureFault for a mirrored one."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 0
    start = struct.unpack_from(order + "I", exif, 4)[0]
    if start + 2 > len(exif):
        return 0
    count = struct.unpack_from(order + "H", exif, start)[0]
    for entry in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", exif, entry)
        if tag == 0x0112 and kind == 3:
            value = struct.unpack_from(order + "H", exif, entry + 8)[0]
            if value in (2, 4, 5, 7):
                raise PictureFault(f"is mirrored by its EXIF orientation {value}; boxes would be in the wrong half")
            return _TURNS.get(value, 0)
    return 0
