"""A sum per decoded frame; equal neighbours show the same picture unless they differ in less than eight lines."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

_EVERY_LINE = 8


def luma_digest(frame: Any) -> int:
    """CRC-32 of every eighth line of a decoded PyAV frame's first plane, without the padding behind each line."""
    plane, pixel = frame.planes[0], frame.format
    # planar formats keep one component per plane; packed ones keep whole pixels, some of them in half bytes
    bits = 8 * -(-pixel.components[0].bits // 8) if pixel.is_planar else pixel.padded_bits_per_pixel
    used = min(plane.line_size, plane.width * bits // 8)
    lines = np.frombuffer(plane, np.uint8, count=plane.line_size * plane.height).reshape(plane.height, plane.line_size)
    return zlib.crc32(np.ascontiguousarray(lines[::_EVERY_LINE, :used]).data)
