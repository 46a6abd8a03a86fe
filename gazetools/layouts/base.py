"""The interface of layouts: `Layout`, `PackedLayout` that is written too, and the `StoredMaps` that are read."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gazetools.io.arrays import AnyArray, ArrayHeader
from gazetools.io.atomic import sha256_of_file
from gazetools.io.closing import Closing
from gazetools.io.positioned import PositionedFile
from gazetools.io.space import check_space
from gazetools.layouts.stream import MapStream, Shape, VideoWriter, Written
from gazetools.schemas.dataset import MANIFEST_NAME, Manifest, PackOptions
from gazetools.schemas.errors import DataFileError, UsageError

Indices = npt.NDArray[np.int64]
MEMBER_TYPES: dict[str, np.dtype[Any]] = {
    "valid": np.dtype(np.bool_),
    "inout": np.dtype(np.float32),
    "pts_seconds": np.dtype(np.float64),
    "norm_scale": np.dtype(np.float32),
    "norm_offset": np.dtype(np.float32),
}
"""Type of each array [T] that may lie next to the maps."""


class StoredMaps(Closing):
    """Random access to the T maps of one video."""

    shape: Shape
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, indices: Indices) -> AnyArray:
        """Maps [n, H, W] in the stored dtype; indices are within 0..T-1. Raises DataFileError."""

    def present(self) -> npt.NDArray[np.bool_] | None:
        """bool [T], False where a frame has no file; None where all are there."""
        return None

    def blocks(self, rows: int) -> Iterator[AnyArray]:
        """All maps in order, at most `rows` at a time; zeros stand for frames that have no file."""
        present = self.present()
        for start in range(0, self.shape[0], rows):
            wanted = np.arange(start, min(start + rows, self.shape[0]))
            if present is None:
                yield self.read(wanted)
            else:
                block = np.zeros((len(wanted), *self.shape[1:]), self.dtype)
                block[present[wanted]] = self.read(wanted[present[wanted]])
                yield block

    def close(self) -> None:
        """Release files; may be called twice. This class has none."""


class SideMembers(Protocol):
    """The named arrays of a packed file: those next to the maps and, except in a folder of frames, the maps."""

    @property
    def names(self) -> list[str]: ...

    def layout(self, name: str) -> ArrayHeader:
        """Type and shape of a member. Raises DataFileError."""

    def load(self, name: str) -> AnyArray:
        """A member as an array. Raises DataFileError."""

    def close(self) -> None: ...


class Layout(ABC):
    """How the maps of a video lie on the disk; the defaults suit one file per video. Objects have no state."""

    suffix: str
    """What follows the video id in the name of its file, unique among layouts; empty for a folder."""
    files_hint = "Remove some files, or choose another -o; finished videos are kept."
    """What to do where the disk has no room for more files."""
    keeps_order = True
    """`members` returns names in the order in which they were written."""

    @abstractmethod
    def open_members(self, path: Path, *, required: bool) -> SideMembers | None:
        """The arrays at `path`, for the caller to close; None where none are there nor `required`. DataFileError."""

    @contextmanager
    def members(self, path: Path, *, required: bool) -> Iterator[SideMembers | None]:
        """`open_members` for a `with` statement, which closes them."""
        members = self.open_members(path, required=required)
        try:
            yield members
        finally:
            if members is not None:
                members.close()

    @abstractmethod
    def header(self, path: Path, members: SideMembers | None = None) -> tuple[ArrayHeader, str]:
        """Type and shape of the maps (see `thw`), and their name in messages; `members` saves opening `path` again."""

    @abstractmethod
    def readme(self, file: str) -> str:
        """One sentence: how to load the video in `file` without gazetools."""

    def open(self, path: Path, members: SideMembers | None = None) -> StoredMaps:
        """The maps at `path`. Raises DataFileError where files are missing, damaged or hostile."""
        header, _ = self.header(path, members)
        return FileMaps(path, header, header.data_offset)

    def blocks(self, path: Path, rows: int, members: SideMembers | None = None) -> Iterator[AnyArray]:
        """All maps in order, at most `rows` at a time. Compares every checksum that the format has."""
        with self.open(path, members) as maps:
            yield from maps.blocks(rows)

    def sha256(self, path: Path) -> str:
        """The checksum of the video at `path`, as the manifest records it."""
        return sha256_of_file(path)

    def bytes_at(self, path: Path) -> int | None:
        """Size of the video at `path`; None where it is not complete."""
        return path.stat().st_size if path.is_file() else None

    def need(self, frames: int, map_bytes: int) -> tuple[int, int]:
        """Bytes and number of files that a video of `frames` maps takes on the disk."""
        return frames * map_bytes, 1

    def check_space(self, path: Path, shape: Shape, dtype: np.dtype[Any]) -> None:
        """Raise FaultError before writing where the disk has no room for the maps [T, H, W]."""
        needed_bytes, files = self.need(shape[0], math.prod(shape[1:]) * dtype.itemsize)
        check_space(
            path.parent,
            needed_bytes=needed_bytes,
            needed_files=files + 2,  # the video's other members or origin, and its folder
            what=str(path),
            hint="Free some space, or choose a smaller --size or --dtype; finished videos are kept.",
            files_hint=self.files_hint,
        )

    def check_ids(self, video_ids: set[str]) -> None:
        """Raise UsageError for videos that lie in each other's folders: replacing one would take the other with it."""
        for video_id in sorted(video_ids) if self.suffix == "" else ():
            outer = {str(parent) for parent in PurePosixPath(video_id).parents} & video_ids
            if outer or video_id.casefold() == MANIFEST_NAME:
                raise UsageError(
                    f"The frame folder of {video_id!r} would lie in the way of {min(outer, default=MANIFEST_NAME)!r}.",
                    hint="Use --layout npz.",
                )


class PackedLayout(Layout):
    """A layout that datasets are written in."""

    in_order = False
    """Videos must be written one after the other in the order of their ids, and each run must have all of them."""

    @abstractmethod
    def begin(self, dataset: Path, options: PackOptions, *, may_replace: bool) -> VideoWriter:
        """The writer of one run. UsageError where it would replace files of others and `may_replace` is False."""

    def shared_files(self, dataset: Path) -> set[Path]:
        """Files of the dataset that belong to several videos."""
        return set()

    def front_matter(self, manifest: Manifest, members: Sequence[str]) -> list[str]:
        """Lines that the README begins with; `members` are the names of the arrays [T] next to the maps."""
        return []


class DatasetLayout(PackedLayout):
    """A layout with one file or folder per video; the object itself is the `VideoWriter` of every run."""

    @abstractmethod
    def write(self, path: Path, stream: MapStream) -> Written:
        """Commit the video at `path`: the maps as `heatmap`, then the members; equal input gives equal bytes."""

    def begin(self, dataset: Path, options: PackOptions, *, may_replace: bool) -> VideoWriter:
        return self

    def keep(self, path: Path) -> bool:
        return True

    def drop(self, path: Path) -> bool:
        return False

    def commit(self) -> None:
        """Do nothing: every video is committed by `write`."""

    def close(self) -> None:
        """Do nothing: nothing is left open."""


def thw(shape: tuple[int, ...], where: str) -> Shape:
    """(T, H, W) of an array [T,H,W], [T,1,H,W] or [H,W] (one frame). Raises DataFileError for other shapes."""
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) == 4 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    if len(shape) != 3 or 0 in shape[1:]:
        raise DataFileError(f"{where} has shape {list(shape)}; heatmaps are [T,H,W], [T,1,H,W] or [H,W].")
    return shape[0], shape[1], shape[2]


def side_header(members: SideMembers | None, name: str, *, strict: bool) -> ArrayHeader | None:
    """Type and shape of a member; None where there is none or, unless `strict` (DataFileError), it can't be used."""
    if members is None or name not in members.names:
        return None
    try:
        return members.layout(name)
    except DataFileError:
        if strict:
            raise
        return None


def load_side(members: SideMembers | None, name: str, count: int, *, strict: bool, where: Path) -> AnyArray | None:
    """The member of length `count` and the type in MEMBER_TYPES; None where there is none. With `strict` it raises."""
    header, dtype = side_header(members, name, strict=strict), MEMBER_TYPES[name]
    if members is not None and header is not None and header.shape == (count,) and header.dtype == dtype:
        return members.load(name)
    if strict:
        found = "missing" if header is None else f"{header.dtype} {list(header.shape)}"
        raise DataFileError(f"{where}: member {name!r} is {found}; it must be {dtype} [{count}].")
    return None


class MemoryMaps(StoredMaps):
    """Maps that had to be read whole: compressed members and arrays in Fortran order."""

    def __init__(self, array: AnyArray, *, where: str) -> None:
        self.shape = thw(array.shape, where)
        self.dtype = array.dtype
        self._array = array.reshape(self.shape)

    def read(self, indices: Indices) -> AnyArray:
        return self._array[indices]


class FileMaps(StoredMaps):
    """Maps that lie uncompressed in one file, read by position: from a cold cache much faster than a memory map."""

    def __init__(self, path: Path, header: ArrayHeader, offset: int) -> None:
        self.shape = thw(header.shape, str(path))
        self.dtype = header.dtype
        self._offset = offset
        self._frame_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._file = PositionedFile(path, hint="Never rewrite heatmaps in place.")
        self._file.advise(0, 0, "POSIX_FADV_RANDOM")

    def read(self, indices: Indices) -> AnyArray:
        """Raises DataFileError where the file has been cut since it was opened."""
        maps = np.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        buffer = maps.reshape(-1).view(np.uint8).data
        size = self._frame_bytes
        runs = runs_of(indices)
        if len(runs) > 1:
            for _, first, count in runs:
                self._file.advise(self._offset + first * size, count * size, "POSIX_FADV_WILLNEED")
        for position, first, count in runs:
            self._file.read_into(buffer[position * size : (position + count) * size], self._offset + first * size)
        return maps

    def close(self) -> None:
        self._file.close()


def runs_of(indices: Indices) -> list[tuple[int, int, int]]:
    """(position, first index, count) of each run of consecutive indices."""
    listed = indices.tolist()  # clips are short: numpy would take ten times as long
    starts = [at for at in range(len(listed)) if at == 0 or listed[at] != listed[at - 1] + 1]
    return [(start, listed[start], stop - start) for start, stop in pairwise([*starts, len(listed)])]
