"""The heatmaps of a range of frames as one binary answer, and curves over a whole video.

A block is, in little endian: uint32 length of the header in bytes; the header, JSON padded with spaces to a multiple of
4: `{"rows": N, "height": H, "width": W, "damaged": rows with numbers that are not finite}`; then the columns int32
frame [N], int32 track_id [N] (-1: no people), float32 box_xyxy [N,4] (NaN: none), float32 inout [N] (NaN: unknown),
float32 peak_xy [N,2], float32 top [N]; then uint8 maps [N,H,W]: a value is `stored * top / 255`, `top` being the
largest value of its map.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.values import Maps
from gazetools.schemas.errors import DataFileError
from gazetools.viewer.video_maps import VideoMaps

_LARGEST_SIDE = 256
"""Pixels of a map on the page; larger ones are made smaller, their peaks are those of the full size."""
_WANTED_BYTES = 512 << 10
_MOST_BYTES = 64 << 20
_MOST_FRAMES = 128


def shown_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of the maps in blocks: the stored size, or the same shape with at most 256 pixels on its longer side."""
    scale = min(1.0, _LARGEST_SIDE / max(size_hw))
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def frames_per_block(maps: VideoMaps) -> int:
    """Number of frames in a block of this video, so that a block has about half a megabyte: a power of 2, 1 to 128."""
    height, width = shown_size(maps.size_hw)
    per_frame = max(1.0, len(maps.table.frame) / max(1, len(np.unique(maps.table.frame)))) * height * width
    frames = 1
    while frames < _MOST_FRAMES and 2 * frames * per_frame <= _WANTED_BYTES:
        frames *= 2
    return frames


def block_of(maps: VideoMaps, start: int, stop: int) -> bytes:
    """The block of the frames [start, stop). Raises DataFileError where it would have more than 64 MB."""
    rows, table = maps.table.of_frames(start, stop), maps.table
    count, (height, width) = rows.stop - rows.start, shown_size(maps.size_hw)
    if count * maps.size_hw[0] * maps.size_hw[1] * 4 > 16 * _MOST_BYTES or count * height * width > _MOST_BYTES:
        raise DataFileError(f"The frames {start} to {stop - 1} have {count} maps, which are too many to show at once.")
    shown = quantised(maps.read(rows)) if count else QuantisedMaps.none(height, width)
    header = {"rows": count, "height": height, "width": width, "damaged": shown.damaged}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    columns: list[npt.NDArray[np.generic]] = [
        table.frame[rows].astype("<i4"), table.track_id[rows].astype("<i4"), table.box_xyxy[rows].astype("<f4"),
        table.inout[rows].astype("<f4"), shown.peak_xy.astype("<f4"), shown.top.astype("<f4"), shown.stored,
    ]  # fmt: skip
    return struct.pack("<I", len(text)) + text + b"".join(column.tobytes() for column in columns)


@dataclass(frozen=True, kw_only=True)
class QuantisedMaps:
    """Maps in one byte per cell."""

    stored: npt.NDArray[np.uint8]
    """[n, h, w]; a value is `stored * top / 255`."""
    top: npt.NDArray[np.float32]
    """[n] largest value of each map."""
    peak_xy: npt.NDArray[np.float32]
    """[n, 2] centre of the first highest cell in 0..1; NaN: the map is zero everywhere."""
    damaged: int
    """Maps with numbers that are not finite, which count as 0."""

    @staticmethod
    def none(height: int, width: int) -> QuantisedMaps:
        """The maps of no rows."""
        empty = np.zeros((0, 2), np.float32)
        return QuantisedMaps(stored=np.zeros((0, height, width), np.uint8), top=empty[:, 0], peak_xy=empty, damaged=0)


def quantised(maps: Maps) -> QuantisedMaps:
    """Maps [n, H, W] at the size in which they are shown; below 0 and not finite counts as 0."""
    finite = np.isfinite(maps)
    damaged = int((~finite.all(axis=(1, 2))).sum())
    cleaned = np.where(finite, maps, 0).clip(min=0)
    count, height, width = cleaned.shape
    best = cleaned.reshape(count, -1).argmax(axis=1)
    peaks = np.stack([(best % width + 0.5) / width, (best // width + 0.5) / height], axis=1).astype(np.float32)
    size = shown_size((height, width))
    if size != (height, width):
        smaller = [cv2.resize(one, (size[1], size[0]), interpolation=cv2.INTER_AREA) for one in cleaned]
        cleaned = np.stack(smaller) if smaller else np.zeros((0, *size), np.float32)
    top = cleaned.max(axis=(1, 2))
    peaks[top <= 0] = np.nan
    scaled = cleaned * np.divide(255, top, out=np.zeros_like(top), where=top > 0)[:, None, None]
    return QuantisedMaps(stored=np.rint(scaled).astype(np.uint8), top=top, peak_xy=peaks, damaged=damaged)


def curves_of(maps: VideoMaps, bins: int, tracks: frozenset[int] | None) -> dict[str, object]:
    """Coverage and in/out score over the video in at most `bins` equal stretches of frames.

    `tracks`: the people that count; None: all. Values are None where no row has a score.
    """
    table = maps.table
    kept = np.ones(len(table.frame), bool) if tracks is None else np.isin(table.track_id, sorted(tracks))
    frames, inout = table.frame[kept], table.inout[kept]
    width = max(1, -(-maps.frame_count // max(bins, 1)))
    count = max(1, -(-maps.frame_count // width))
    place = np.unique(frames) // width
    sizes = np.minimum(width, maps.frame_count - np.arange(count) * width).clip(min=1)
    coverage = np.bincount(place, minlength=count)[:count] / sizes
    known = np.isfinite(inout)
    sums = np.bincount(frames[known] // width, weights=inout[known], minlength=count)[:count]
    number = np.bincount(frames[known] // width, minlength=count)[:count]
    mean = [round(float(s / n), 4) if n else None for s, n in zip(sums, number, strict=True)]
    return {"frames_per_bin": width, "coverage": [round(float(c), 4) for c in coverage], "inout": mean}
