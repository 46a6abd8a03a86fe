"""The columns of a video's store file and of its pieces, and the bytes that they take on the disk."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gazetools.schemas.store import FINGERPRINT_SIZE

ROW_COLUMNS = ("frame", "track_id", "box_xyxy", "inout", "prompt", "heatmap")
FRAME_COLUMNS = ("frame_index", "pts_seconds", "fingerprint", "fingerprint_index")

_ROWS_PER_CHUNK = 32
"""256 KiB a chunk at 64x64 float16: small enough for random clips, large enough for streaming."""
_CHUNK_EXTRA_BYTES = 32
"""Beside a chunk's values: its fletcher32 and its entry in the index."""
_FILE_EXTRA_BYTES = 48 << 10
"""Provenance (32 KB at most), tracks, headers."""
_PIECE_EXTRA_BYTES = 4 << 10
"""The zip's directory and the headers of its members."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One dataset of a store file."""

    name: str
    """Field of `Piece` or of its `Rows`."""
    dataset: str
    shape: tuple[int, ...]
    dtype: str
    chunk_rows: int

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of a chunk; None for an empty dataset, which can't be chunked."""
        return (min(self.chunk_rows, self.shape[0]), *self.shape[1:]) if self.shape[0] else None

    @property
    def value_bytes(self) -> int:
        """Of the values alone."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def stored_bytes(self) -> int:
        """In the store file, whose last chunk is as large as the others."""
        if self.chunks is None:
            return 0
        chunk_bytes = math.prod(self.chunks) * np.dtype(self.dtype).itemsize
        return -(-self.shape[0] // self.chunks[0]) * (chunk_bytes + _CHUNK_EXTRA_BYTES)


def columns_of(*, frames: int, rows: int, fingerprints: int, heatmap_shape: tuple[int, int]) -> list[Column]:
    """All columns of a video with so many processed frames, rows and fingerprints; heatmaps [H, W]."""
    n, f, s = rows, frames, fingerprints
    side = FINGERPRINT_SIZE

    def column(name: str, dataset: str, shape: tuple[int, ...], dtype: str, chunk_rows: int = 4096) -> Column:
        return Column(name=name, dataset=dataset, shape=shape, dtype=dtype, chunk_rows=chunk_rows)

    return [
        column("frame", "rows/frame", (n,), "int64"),
        column("track_id", "rows/track_id", (n,), "int32"),
        column("box_xyxy", "rows/box", (n, 4), "float32"),
        column("inout", "rows/inout", (n,), "float32"),
        column("prompt", "rows/prompt", (n,), "uint8"),
        column("heatmap", "rows/heatmap", (n, *heatmap_shape), "float16", _ROWS_PER_CHUNK),
        column("frame_index", "frames/index", (f,), "int64"),
        column("pts_seconds", "frames/pts_seconds", (f,), "float64"),
        column("fingerprint", "frames/fingerprint", (s, side, side), "uint8", 64),
        column("fingerprint_index", "frames/fingerprint_index", (s,), "int64"),
    ]


def store_file_bytes(*, frames: int, rows: int, fingerprints: int, heatmap_shape: tuple[int, int]) -> int:
    """What `write_store` will write for a video without extra columns, or a little less than this."""
    columns = columns_of(frames=frames, rows=rows, fingerprints=fingerprints, heatmap_shape=heatmap_shape)
    return sum(column.stored_bytes for column in columns) + _FILE_EXTRA_BYTES


def piece_file_bytes(*, frames: int, rows: int, fingerprints: int, heatmap_shape: tuple[int, int]) -> int:
    """What `PieceFolder.save` will write for a piece, or a little less than this."""
    columns = columns_of(frames=frames, rows=rows, fingerprints=fingerprints, heatmap_shape=heatmap_shape)
    return sum(column.value_bytes for column in columns) + _PIECE_EXTRA_BYTES
