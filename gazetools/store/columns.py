"""The only statement of a store file's datasets (names, types, chunks), and the bytes that they take on the disk."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gazetools.schemas.store import EXTRA_GROUP, FINGERPRINT_SIZE

_CHUNK_EXTRA_BYTES = 32
"""Bytes of a chunk next to its values: its fletcher32 and its entry in the index."""
_FILE_EXTRA_BYTES = 48 << 10
"""Provenance (32 KB at most), tracks, headers."""
_PIECE_EXTRA_BYTES = 4 << 10
"""The zip's directory and the headers of its members."""


@dataclass(frozen=True)
class Column:
    """One dataset of a store file."""

    name: str
    """Field of `Piece` or of its `Rows`; for `tracks` the name after the slash."""
    dataset: str
    dtype: str
    tail: tuple[int, ...] | None = ()
    """Sizes of all axes but the first; None for (H, W) of the model's heatmaps."""
    chunk_rows: int = 4096

    @property
    def rank(self) -> int:
        return 3 if self.tail is None else 1 + len(self.tail)


ROWS = (
    Column("frame", "rows/frame", "int64"),
    Column("track_id", "rows/track_id", "int32"),
    Column("box_xyxy", "rows/box", "float32", (4,)),
    Column("inout", "rows/inout", "float32"),
    Column("prompt", "rows/prompt", "uint8"),
    # 32 rows: 256 KiB a chunk at 64x64 float16, small enough for random clips, large enough for streaming
    Column("heatmap", "rows/heatmap", "float16", None, chunk_rows=32),
)
"""One entry per frame and person."""
FRAMES = (Column("frame_index", "frames/index", "int64"), Column("pts_seconds", "frames/pts_seconds", "float64"))
"""One entry per processed frame."""
FINGERPRINTS = (
    Column("fingerprint", "frames/fingerprint", "uint8", (FINGERPRINT_SIZE, FINGERPRINT_SIZE), chunk_rows=64),
    Column("fingerprint_index", "frames/fingerprint_index", "int64"),
)
"""One entry per sampled frame."""
TRACKS = (Column("id", "tracks/id", "int32"), Column("role", "tracks/role", "object"))
"""One entry per track, written whole and without chunks."""
COLUMNS = (*ROWS, *FRAMES, *FINGERPRINTS, *TRACKS)


def tokens_column(shape: tuple[int, int, int]) -> Column:
    """The column of scene tokens (G, G, C), one entry per row, which only a store with kept tokens has."""
    # 8 rows: 256 KiB a chunk at 8 x 8 cells of 256 channels, as the heatmaps' chunks
    return Column("tokens", f"{EXTRA_GROUP}/tokens", "float16", shape, chunk_rows=8)


@dataclass(frozen=True, kw_only=True)
class SizedColumn:
    """A column with its shape in one video's file."""

    column: Column
    shape: tuple[int, ...]

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of a chunk; None for an empty dataset, which can't be chunked."""
        return (min(self.column.chunk_rows, self.shape[0]), *self.shape[1:]) if self.shape[0] else None

    @property
    def value_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.column.dtype).itemsize

    @property
    def stored_bytes(self) -> int:
        """Bytes in the store file, whose last chunk is as large as the others."""
        if self.chunks is None:
            return 0
        chunk_bytes = math.prod(self.chunks) * np.dtype(self.column.dtype).itemsize
        return -(-self.shape[0] // self.chunks[0]) * (chunk_bytes + _CHUNK_EXTRA_BYTES)


@dataclass(frozen=True, kw_only=True)
class ContentSizes:
    """How much a store file or a piece holds."""

    frames: int
    rows: int
    fingerprints: int
    heatmap_shape: tuple[int, int]
    """[H, W] of a heatmap."""
    tokens_shape: tuple[int, int, int] | None = None
    """[G, G, C] of a row's scene tokens; None: none are kept."""

    def columns(self) -> list[SizedColumn]:
        """The chunked columns with their shapes."""
        tokens = () if self.tokens_shape is None else (tokens_column(self.tokens_shape),)
        counted = ((ROWS, self.rows), (FRAMES, self.frames), (FINGERPRINTS, self.fingerprints), (tokens, self.rows))
        return [
            SizedColumn(column=column, shape=(count, *(self.heatmap_shape if column.tail is None else column.tail)))
            for columns, count in counted
            for column in columns
        ]

    def store_file_bytes(self) -> int:
        """What `write_store` will write for content without other extra columns, or a little less than this."""
        return sum(column.stored_bytes for column in self.columns()) + _FILE_EXTRA_BYTES

    def piece_file_bytes(self) -> int:
        """What `PieceFolder.save` will write for a piece of this size, or a little less than this."""
        return sum(column.value_bytes for column in self.columns()) + _PIECE_EXTRA_BYTES
