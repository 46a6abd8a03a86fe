"""MPEG-4 Part 2: packets that say "no new picture", with which Xvid and DivX store a dropped or unchanged frame."""

from __future__ import annotations

from collections.abc import Callable

LONGEST = 19
"""Bytes of the longest packet that can be one; FFmpeg's decoder has the same limit."""
_START = b"\x00\x00\x01"
_PICTURE = b"\xb6"


def uncoded_test(headers: bytes) -> Callable[[bytes], bool] | None:
    """A test whether a packet holds a picture that is not coded (`vop_coded` = 0), by the stream's `headers`.

    `headers` holds the video object layer (ISO/IEC 14496-2, 6.2.3), which says how many bits the time in a picture's
    header has (6.2.5). None where it is not there.
    """
    place = 0
    while (place := headers.find(_START, place)) >= 0:
        place += 3
        if headers[place : place + 1] and 0x20 <= headers[place] <= 0x2F:
            bits = _Bits(headers[place + 1 : place + 41])
            time_bits = max(1, (_ticks_per_second(bits) - 1).bit_length())
            return lambda packet: _is_uncoded(packet, time_bits)
    return None


def _ticks_per_second(bits: _Bits) -> int:
    """`vop_time_increment_resolution` of a video object layer."""
    bits.take(9)  # random access, type
    version = 1
    if bits.take(1):
        version = bits.take(4)
        bits.take(3)
    if bits.take(4) == 15:  # pixel aspect ratio in numbers
        bits.take(16)
    if bits.take(1):  # control parameters
        bits.take(3)
        if bits.take(1):
            bits.take(79)
    if bits.take(2) == 3 and version != 1:  # grey-scale shape
        bits.take(4)
    bits.take(1)
    return bits.take(16)


def _is_uncoded(packet: bytes, time_bits: int) -> bool:
    place = packet.find(_START + _PICTURE)
    if place < 0 or len(packet) > LONGEST:
        return False
    bits = _Bits(packet[place + 4 :])
    bits.take(2)
    while bits.take(1):  # whole seconds
        pass
    bits.take(time_bits + 2)
    return bits.left >= 1 and not bits.take(1)


class _Bits:
    """The bits of `data`, first to last; 0 after their end."""

    def __init__(self, data: bytes) -> None:
        self._number, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self.left -= count
        value = self._number >> self.left if self.left >= 0 else 0
        self._number &= (1 << max(self.left, 0)) - 1
        return value
