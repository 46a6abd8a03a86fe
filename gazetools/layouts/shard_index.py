"""The index file of a video whose maps lie in shards: where each block is, and the arrays [T] next to the maps."""

from __future__ import annotations

import hashlib
import zipfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.io.arrays import AnyArray, ArrayHeader
from gazetools.io.atomic import atomic_path
from gazetools.io.npz import Npz
from gazetools.io.open_files import OpenFiles
from gazetools.io.positioned import PositionedFile
from gazetools.layouts.base import Indices, StoredMaps, runs_of
from gazetools.layouts.npz import write_members
from gazetools.layouts.stream import Shape
from gazetools.schemas.dataset import HEATMAP_MEMBER
from gazetools.schemas.errors import DataFileError

_PLACE, _BLOCKS, _TYPE = "place", "blocks", "map_type"
_COLUMNS = 7
_OPEN_SHARDS = 8
_MAX_SHARD = 10**6
AGAIN = "Copy the file again, or remove it and run the same gazetools convert or pack again."


@dataclass(frozen=True, kw_only=True)
class ShardBlock:
    """Consecutive rows of one video in one shard."""

    first_row: int
    rows: int
    shard: int
    """Number of the shard."""
    begin: int
    """Byte of the shard where the block begins, with its headers."""
    size: int
    """Bytes of the block, headers included."""
    maps_at: int
    """Byte of the shard where the first map begins; the maps follow each other without gaps."""
    crc32: int
    """CRC-32 of all bytes of the block."""

    @property
    def end(self) -> int:
        """First byte behind the block."""
        return self.begin + self.size


@dataclass(frozen=True, kw_only=True)
class VideoIndex:
    """What `<video_id>.tarindex` or `<video_id>.arrowindex` holds; the format is that of an .npz."""

    shape: Shape
    dtype: np.dtype[Any]
    depth: int
    """Folders between the index file and the dataset: 0 for the id `clip`, 1 for `take/cam01`."""
    blocks: tuple[ShardBlock, ...]
    members: dict[str, npt.NDArray[Any]]
    """The arrays [T] next to the maps, in the order of `MapStream.member_names`."""

    @cached_property
    def sha256(self) -> str:
        """Checksum of the video's content; it does not depend on the place of its blocks in the shards."""
        digest = hashlib.sha256()
        for block in self.blocks:
            digest.update(f"{block.first_row} {block.rows} {block.size} {block.crc32}\n".encode())
        for name, array in self.members.items():
            digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()

    @property
    def block_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(block.size for block in self.blocks)

    def root(self, path: Path) -> Path:
        """The dataset, in which the index lies at `path`."""
        return path.parents[self.depth]

    def write(self, path: Path) -> None:
        """Commit the index at `path`; equal indices give equal bytes."""
        rows = [[b.first_row, b.rows, b.shard, b.begin, b.size, b.maps_at, b.crc32] for b in self.blocks]
        own = {
            _PLACE: np.array([self.shape[0], self.depth], np.int64),
            _BLOCKS: np.array(rows, np.int64).reshape(-1, _COLUMNS),
            _TYPE: np.zeros((0, *self.shape[1:]), self.dtype),
        }
        with atomic_path(path, durable=False) as temp, zipfile.ZipFile(temp, "w", allowZip64=True) as archive:
            write_members(archive, {**self.members, **own})


def read_index(path: Path) -> VideoIndex:
    """The index file at `path`. Raises DataFileError where it is damaged, or states rows or places that can't be."""
    with Npz(path) as archive:
        arrays = {name: archive.load(name) for name in archive.names}
    own = [arrays.pop(name, None) for name in (_PLACE, _BLOCKS, _TYPE)]
    place, rows, kind = own
    if place is None or rows is None or kind is None:
        raise DataFileError(f"{path} is not an index of a video in shards; it has {list(arrays)}.", hint=AGAIN)
    if place.shape != (2,) or rows.ndim != 2 or rows.shape[1] != _COLUMNS or kind.ndim != 3 or rows.dtype.kind != "i":
        raise DataFileError(f"{path} has arrays of another shape than an index of a video in shards.", hint=AGAIN)
    count, depth = place.tolist()
    blocks = tuple(
        ShardBlock(first_row=r, rows=n, shard=shard, begin=begin, size=size, maps_at=maps_at, crc32=crc)
        for r, n, shard, begin, size, maps_at, crc in rows.tolist()
    )
    map_bytes = int(np.prod(kind.shape[1:])) * kind.dtype.itemsize
    next_row = 0
    for block in blocks:
        inside = block.begin <= block.maps_at and block.maps_at + block.rows * map_bytes <= block.end
        if block.first_row != next_row or block.rows < 1 or not 0 <= block.shard < _MAX_SHARD or block.begin < 0:
            raise DataFileError(f"{path}: the block of row {block.first_row} does not follow row {next_row - 1}.")
        if not inside:
            raise DataFileError(f"{path}: the maps of row {block.first_row} lie outside of their block.", hint=AGAIN)
        next_row += block.rows
    if next_row != count or not 0 <= depth < len(path.absolute().parents):
        raise DataFileError(f"{path} states {count} rows, its blocks have {next_row}.", hint=AGAIN)
    shape = (count, kind.shape[1], kind.shape[2])
    return VideoIndex(shape=shape, dtype=kind.dtype, depth=depth, blocks=blocks, members=arrays)


class IndexMembers:
    """The members of a video in shards: those of its index and, as the first, the maps."""

    def __init__(self, path: Path) -> None:
        self.index = read_index(path)
        self._path = path

    @property
    def names(self) -> list[str]:
        return [HEATMAP_MEMBER, *self.index.members]

    def layout(self, name: str) -> ArrayHeader:
        if name == HEATMAP_MEMBER:
            return ArrayHeader(dtype=self.index.dtype, shape=self.index.shape, fortran_order=False, data_offset=0)
        array = self.load(name)
        return ArrayHeader(dtype=array.dtype, shape=array.shape, fortran_order=False, data_offset=0)

    def load(self, name: str) -> AnyArray:
        """A member next to the maps; the maps are read by `Layout.open`."""
        if name not in self.index.members:
            raise DataFileError(f"{self._path} has no member {name!r}; it has {list(self.index.members)}.")
        return self.index.members[name]

    def close(self) -> None:
        """Do nothing, since no file stays open."""


class ShardMaps(StoredMaps):
    """The maps of one video, read by position in its shards.

    Args:
        index: where they lie.
        shards: path of each shard by its number.
    """

    def __init__(self, index: VideoIndex, shards: dict[int, Path]) -> None:
        self.shape, self.dtype = index.shape, index.dtype
        self._blocks: Sequence[ShardBlock] = index.blocks
        self._starts = [block.first_row for block in index.blocks]
        self._map_bytes = int(np.prod(index.shape[1:])) * index.dtype.itemsize
        self._shards = shards
        self._files: OpenFiles[int, PositionedFile] = OpenFiles(_OPEN_SHARDS)
        check_shards(index.blocks, shards)

    def read(self, indices: Indices) -> AnyArray:
        """Raises DataFileError where a shard has been cut or removed since the maps were opened."""
        maps = np.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        buffer = maps.reshape(-1).view(np.uint8).data
        pieces = list(self._pieces(indices))
        if len(pieces) > 1:
            for shard, offset, _, length in pieces:
                self._file(shard).advise(offset, length, "POSIX_FADV_WILLNEED")
        for shard, offset, start, length in pieces:
            self._file(shard).read_into(buffer[start : start + length], offset)
        return maps

    def _pieces(self, indices: Indices) -> Iterator[tuple[int, int, int, int]]:
        """(shard, byte in it, byte of the result, length) of each run of maps that lie next to each other."""
        size = self._map_bytes
        for position, first, count in runs_of(indices):
            done = 0
            while done < count:
                block = self._blocks[bisect_right(self._starts, first + done) - 1]
                skipped = first + done - block.first_row
                taken = min(count - done, block.rows - skipped)
                yield block.shard, block.maps_at + skipped * size, (position + done) * size, taken * size
                done += taken

    def _file(self, shard: int) -> PositionedFile:
        return self._files.get(shard, lambda: open_shard(self._shards[shard]))

    def close(self) -> None:
        self._files.clear()


def open_shard(path: Path) -> PositionedFile:
    """A shard for reading. Raises DataFileError where it is missing."""
    try:
        file = PositionedFile(path, hint=AGAIN)
        file.advise(0, 0, "POSIX_FADV_RANDOM")
        return file
    except OSError as error:
        raise DataFileError(f"Cannot read the shard {path}: {error.strerror}.", hint=AGAIN, path=str(path)) from error


def check_shards(blocks: Sequence[ShardBlock], shards: dict[int, Path]) -> None:
    """Raise DataFileError that names the first shard that is missing, or shorter than its `blocks` need."""
    needed: dict[int, int] = {}
    for block in blocks:
        needed[block.shard] = max(needed.get(block.shard, 0), block.end)
    for shard, size in needed.items():
        path = shards[shard]
        try:
            found = path.stat().st_size
        except OSError as error:
            raise DataFileError(f"The shard {path} is missing ({error.strerror}).", hint=AGAIN) from error
        if found < size:
            raise DataFileError(
                f"The shard {path} is truncated: it has {found} bytes, its index needs {size}.",
                hint=AGAIN,
                path=str(path),
            )
