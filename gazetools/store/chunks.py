"""Rows of a chunked HDF5 dataset, read at the chunks' own places in the file: no filter, no lock, one copy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from gazetools.io.positioned import PositionedFile

_FLETCHER32 = 3
"""HDF5's filter number; the filter appends a sum of four bytes to each chunk and leaves the numbers unchanged."""
_SUM_BYTES = 4


class ChunkedRows:
    """Rows [n, ...] of a dataset whose chunks hold whole rows in C order, uncompressed.

    The chunks' checksums are NOT compared: callers compare the sha256 of the file instead. HDF5 would hold Python's
    lock while it sums and copies every chunk twice; positioned reads leave the lock free for other threads.
    """

    def __init__(self, path: Path, dataset: h5py.Dataset, starts: npt.NDArray[np.int64]) -> None:
        self.dtype: np.dtype[Any] = dataset.dtype
        self._rows_per_chunk = int(dataset.chunks[0])
        self._row_shape: tuple[int, ...] = tuple(dataset.shape[1:])
        self._row_bytes = math.prod(self._row_shape) * self.dtype.itemsize
        self._starts = starts
        self._file = PositionedFile(path, hint="Wait until its writer is done.")

    @classmethod
    def of(cls, path: Path, dataset: h5py.Dataset) -> ChunkedRows | None:
        """Rows of `dataset`; None where it is stored in another way, or a chunk lies outside the file."""
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
        chunks, shape = dataset.chunks, dataset.shape
        if chunks is None or chunks[1:] != shape[1:] or filters not in ([], [_FLETCHER32]):
            return None
        if dataset.file.userblock_size:  # offsets would count from its end
            return None
        stored_bytes = math.prod(chunks) * dataset.dtype.itemsize + (_SUM_BYTES if filters else 0)
        starts = np.full(-(-shape[0] // chunks[0]), -1, np.int64)
        size = path.stat().st_size

        def note(chunk: Any) -> None:
            row = chunk.chunk_offset[0]
            fits = chunk.size == stored_bytes and 0 < chunk.byte_offset <= size - stored_bytes
            if row < shape[0] and fits and not chunk.filter_mask:
                starts[row // chunks[0]] = chunk.byte_offset

        dataset.id.chunk_iter(note)
        return None if (starts < 0).any() else cls(path, dataset, starts)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows [start, stop). Raises DataFileError where the file has been cut since it was opened."""
        rows = np.empty((stop - start, *self._row_shape), self.dtype)
        buffer = rows.reshape(-1).view(np.uint8).data
        at = start
        while at < stop:
            chunk, inside = divmod(at, self._rows_per_chunk)
            count = min(stop - at, self._rows_per_chunk - inside)
            part = buffer[(at - start) * self._row_bytes : (at - start + count) * self._row_bytes]
            self._file.read_into(part, int(self._starts[chunk]) + inside * self._row_bytes)
            at += count
        return rows

    def close(self) -> None:
        self._file.close()
