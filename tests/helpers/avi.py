"""AVI files written chunk by chunk, as capture programs write them, and the pictures to put into them."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from tests.media.barcode import HEIGHT, WIDTH, draw_barcode

RATE = 24
EMPTY = b""


def coded(codec: str, count: int, **options: str) -> tuple[bytes, list[bytes]]:
    """(header lists, chunks) of `count` barcoded frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as out:
        stream = out.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(draw_barcode(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    data = buffer.getvalue()
    movie = data.index(b"movi")
    header, position, chunks = data[12 : movie - 8], movie + 4, []
    while data[position : position + 4] == b"00dc":
        (size,) = struct.unpack("<I", data[position + 4 : position + 8])
        chunks.append(data[position + 8 : position + 8 + size])
        position += 8 + size + size % 2
    return header, chunks


def write_avi(path: Path, header: bytes, *parts: Sequence[bytes], keys: Sequence[int] = (), index: bool = True) -> Path:
    """An AVI file of the chunks `parts`; further parts are OpenDML's `RIFF AVIX`. `keys`: of the first part."""
    facts, total = bytearray(header), sum(map(len, parts))
    for name, offset, value in ((b"strh", 32, total), (b"avih", 16, len(parts[0]))):
        place = facts.index(name) + 8 + offset
        facts[place : place + 4] = struct.pack("<I", value)
    data = b""
    for number, part in enumerate(parts):
        movie, table = b"movi", b""
        for position, chunk in enumerate(part):
            key = 0x10 if position in keys or not keys else 0
            table += b"00dc" + struct.pack("<III", key, len(movie), len(chunk))
            movie += b"00dc" + struct.pack("<I", len(chunk)) + chunk + bytes(len(chunk) % 2)
        body = (b"AVIX" if number else b"AVI " + bytes(facts)) + b"LIST" + struct.pack("<I", len(movie)) + movie
        if index and not number:
            body += b"idx1" + struct.pack("<I", len(table)) + table
        data += b"RIFF" + struct.pack("<I", len(body)) + body
    path.write_bytes(data)
    return path


def uncoded_picture(number: int) -> bytes:
    """An MPEG-4 picture that is not coded: P type, no whole seconds, the time in 5 bits (24 per second), no picture."""
    bits = f"0101{number % RATE:05b}100"
    bits += "1" * (-len(bits) % 8)
    return b"\x00\x00\x01\xb6" + int(bits, 2).to_bytes(len(bits) // 8, "big")
