"""Write the maps of one video as an .h5 with one contiguous dataset per member; the same input gives the same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gazetools.io.atomic import atomic_path, sha256_while_synced
from gazetools.io.parallel import ahead
from gazetools.io.raw_file import RawFile
from gazetools.layouts.members import MEMBER_TYPES, Blocks, Members, Written
from gazetools.schemas.dataset import HEATMAP_MEMBER

_PAGE = 4096


def write_hdf5(
    path: Path, blocks: Blocks, shape: tuple[int, int, int], dtype: np.dtype[Any], members: Members
) -> Written:
    """Commit `path` with the dataset `heatmap` (from `blocks`) and one dataset per member, uncompressed, contiguous.

    HDF5 itself only lays out the file, in memory and without the numbers, which are then written at their offsets: a
    full disk is an error of ours instead of a crash of HDF5, and memory does not grow with the video.
    """
    outline = _Outline()
    wanted = {HEATMAP_MEMBER: (shape, dtype), **{name: (shape[:1], MEMBER_TYPES[name]) for name in members.names}}
    offsets = _lay_out(outline, wanted)
    with atomic_path(path) as temp:
        with temp.open("wb") as file:
            outline.write_to(file)
            file.seek(offsets[HEATMAP_MEMBER])
            for block in ahead(blocks):
                file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
            for name, array in members.collect().items():
                file.seek(offsets[name])
                file.write(np.ascontiguousarray(array, dtype=MEMBER_TYPES[name]).tobytes())
        written = Written(sha256=sha256_while_synced(temp), bytes=temp.stat().st_size)
    return written


def _lay_out(outline: _Outline, wanted: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> dict[str, int]:
    """Offset of each dataset's first number."""
    offsets = {}
    with h5py.File(outline, "w", libver=("v110", "v110")) as file:
        for name, (shape, dtype) in wanted.items():
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_layout(h5py.h5d.CONTIGUOUS)
            # space at once and no fill values: HDF5 never touches the numbers
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            properties.set_obj_track_times(False)
            kind = h5py.h5t.py_create(dtype, logical=True)
            dataset = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), dcpl=properties)
            offsets[name] = dataset.get_offset() or 0
    return offsets


class _Outline(RawFile):
    """A file in memory that keeps only the pages that were written."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._size = self._place = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + {0: 0, 1: self._place, 2: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        return self._size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        for at, page, start, count in self._spans(len(view)):
            view[at : at + count] = self._pages.get(page, bytearray(_PAGE))[start : start + count]
        self._place += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for at, page, start, count in self._spans(len(view)):
            self._pages.setdefault(page, bytearray(_PAGE))[start : start + count] = view[at : at + count]
        self._place += len(view)
        self._size = max(self._size, self._place)
        return len(view)

    def write_to(self, file: io.BufferedWriter) -> None:
        """The kept pages at their places; `file` gets the whole length."""
        file.truncate(self._size)
        for page in sorted(self._pages):
            file.seek(page * _PAGE)
            file.write(self._pages[page][: max(0, self._size - page * _PAGE)])

    def _spans(self, length: int) -> list[tuple[int, int, int, int]]:
        """(position in the buffer, page, position in the page, bytes) of a transfer at the current place."""
        spans, at = [], 0
        while at < length:
            page, start = divmod(self._place + at, _PAGE)
            count = min(length - at, _PAGE - start)
            spans.append((at, page, start, count))
            at += count
        return spans
