"""The layouts behind a HeatmapReader: each hands out chosen frames in their stored dtype."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gazetools.io.arrays import AnyArray, ArrayHeader, load_npy, npy_layout
from gazetools.io.npz import Npz
from gazetools.io.positioned import PositionedFile
from gazetools.layouts.locate import Location, numbered_frames
from gazetools.schemas.dataset import HEATMAP_MEMBER
from gazetools.schemas.errors import DataFileError

Indices = npt.NDArray[np.int64]


class FrameSource(Protocol):
    """Random access to the T maps of one video."""

    shape: tuple[int, int, int]
    """(T, H, W)"""
    dtype: np.dtype[Any]

    def read(self, indices: Indices) -> AnyArray:
        """Maps [n, H, W] in the stored dtype; indices are within 0..T-1."""

    def present(self) -> npt.NDArray[np.bool_] | None:
        """bool [T], False where a frame has no file; None where all are there."""

    def close(self) -> None:
        """Let go of files."""


def thw(shape: tuple[int, ...], where: str) -> tuple[int, int, int]:
    """(T, H, W) of an array [T,H,W], [T,1,H,W] or [H,W] (one frame). Raises DataFileError for other shapes."""
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) == 4 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    if len(shape) != 3 or 0 in shape[1:]:
        raise DataFileError(f"{where} has shape {list(shape)}; heatmaps are [T,H,W], [T,1,H,W] or [H,W].")
    return shape[0], shape[1], shape[2]


def heatmap_member(archive: Npz) -> str:
    """Name of the member that holds the maps: `heatmap`, or the first one in files of other tools."""
    return HEATMAP_MEMBER if HEATMAP_MEMBER in archive.names else archive.names[0]


class SideMembers(Protocol):
    """Something that holds named arrays beside the maps: an .npz or an .h5."""

    @property
    def names(self) -> list[str]:
        """Names of the members."""

    def layout(self, name: str) -> ArrayHeader:
        """Type and shape of a member. Raises DataFileError."""

    def load(self, name: str) -> AnyArray:
        """A member as an array. Raises DataFileError."""


def side_layout(archive: SideMembers, name: str, *, strict: bool) -> ArrayHeader | None:
    """Header of a member beside the maps, None where there is none.

    In files of other tools a name such as `valid` may mean anything, text included: what can't be used counts as absent
    unless `strict`, which raises DataFileError.
    """
    if name not in archive.names:
        return None
    try:
        return archive.layout(name)
    except DataFileError:
        if strict:
            raise
        return None


def open_source(location: Location, members: SideMembers | None = None) -> FrameSource:
    """The frame source of a location; `members` spares opening its .npz or .h5 again.

    Raises DataFileError where its files are missing, damaged or hostile.
    """
    if location.kind == "folder":
        return FolderFrames(location.path)
    if location.kind == "hdf5":
        from gazetools.layouts.hdf5 import Hdf5Members

        layout = (members or Hdf5Members(location.path)).layout(HEATMAP_MEMBER)
        return StoredFrames(location.path, layout, layout.data_offset)
    if location.kind == "npy":
        layout = npy_layout(location.path)
        if layout.fortran_order:
            return MemoryFrames(load_npy(location.path), where=str(location.path))
        return StoredFrames(location.path, layout, layout.data_offset)
    if isinstance(members, Npz):
        return _source_in(members)
    with Npz(location.path) as archive:
        return _source_in(archive)


def _source_in(archive: Npz) -> FrameSource:
    member = heatmap_member(archive)
    layout = archive.layout(member)
    if archive.is_stored(member) and not layout.fortran_order:
        return StoredFrames(archive.path, layout, archive.element_offset(member))
    return MemoryFrames(archive.load(member), where=f"{archive.path}:{member}")


class MemoryFrames:
    """Maps that had to be read whole: compressed members and arrays in Fortran order."""

    def __init__(self, array: AnyArray, *, where: str) -> None:
        self.shape = thw(array.shape, where)
        self.dtype = array.dtype
        self._array = array.reshape(self.shape)

    def read(self, indices: Indices) -> AnyArray:
        """See FrameSource."""
        return self._array[indices]

    def present(self) -> npt.NDArray[np.bool_] | None:
        """See FrameSource."""
        return None

    def close(self) -> None:
        """Nothing is open."""


class StoredFrames:
    """Maps that lie uncompressed in one file, read with positioned reads at their offsets.

    Positioned reads instead of a memory map: as fast for a clip's worth of frames, several times faster from a cold
    cache (the wanted ranges are announced first and arrive together), and a file that is cut while it is open gives a
    DataFileError where a map would kill the process with SIGBUS. The descriptor has no shared position, so threads
    and forked workers may use it.
    """

    def __init__(self, path: Path, layout: ArrayHeader, offset: int) -> None:
        self.path = path
        self.shape = thw(layout.shape, str(path))
        self.dtype = layout.dtype
        self._offset = offset
        self._frame_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._file = PositionedFile(path, hint="Never rewrite heatmaps in place.")
        self._file.advise(0, 0, "POSIX_FADV_RANDOM")

    def read(self, indices: Indices) -> AnyArray:
        """See FrameSource. Raises DataFileError where the file has been cut since it was opened."""
        maps = np.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        if not len(indices):
            return maps
        buffer = maps.reshape(-1).view(np.uint8).data
        size = self._frame_bytes
        runs = _runs_of(indices)
        if len(runs) > 1:
            for _, first, count in runs:
                self._file.advise(self._offset + first * size, count * size, "POSIX_FADV_WILLNEED")
        for position, first, count in runs:
            self._file.read_into(buffer[position * size : (position + count) * size], self._offset + first * size)
        return maps

    def present(self) -> npt.NDArray[np.bool_] | None:
        """See FrameSource."""
        return None

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


class FolderFrames:
    """One .npy per frame; the number in the name is the frame's index."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        try:
            self._names = numbered_frames(folder)
        except OSError as error:
            raise DataFileError(f"Cannot read {folder}: {error.strerror}.", path=str(folder)) from error
        if not self._names:
            raise DataFileError(f"{folder} holds no numbered .npy frames.", path=str(folder))
        first = folder / self._names[min(self._names)]
        layout = npy_layout(first)
        count, height, width = thw(layout.shape, str(first))
        if count != 1:
            raise DataFileError(f"{first} holds {count} maps; a file in a folder of frames holds one.")
        self.shape = (max(self._names) + 1, height, width)
        self.dtype = layout.dtype
        self._layout = layout
        self._prefix = str(folder) + os.sep
        with first.open("rb") as file:
            self._header = file.read(layout.data_offset)

    def read(self, indices: Indices) -> AnyArray:
        """See FrameSource. Raises DataFileError where a frame's file is missing, damaged or unlike the others."""
        maps = np.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        size = self._layout.nbytes
        for position, index in enumerate(indices.tolist()):
            maps[position] = self._read_one(index, size)
        return maps

    def present(self) -> npt.NDArray[np.bool_] | None:
        """See FrameSource."""
        if len(self._names) == self.shape[0]:
            return None
        present = np.zeros(self.shape[0], dtype=np.bool_)
        present[list(self._names)] = True
        return present

    def close(self) -> None:
        """Nothing stays open."""

    def _read_one(self, index: int, size: int) -> AnyArray:
        name = self._names.get(index)
        if name is None:
            raise DataFileError(f"{self.path} has no file for frame {index}.", path=str(self.path), frame=index)
        path = self._prefix + name
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half the cost of Path.open, once per frame
                data = file.read(len(self._header) + size + 1)
        except OSError as error:
            raise DataFileError(f"Cannot read {path}: {error.strerror}.", path=path) from error
        # the frames of one folder have equal headers, so that comparing bytes replaces parsing
        if len(data) == len(self._header) + size and data.startswith(self._header) and not self._layout.fortran_order:
            return np.frombuffer(data, self.dtype, offset=len(self._header)).reshape(self.shape[1:])
        other = npy_layout(Path(path))
        if thw(other.shape, path) != (1, *self.shape[1:]) or other.dtype != self.dtype:
            raise DataFileError(
                f"{path} is {other.dtype} {list(other.shape)}, but the folder's first frame is {self.dtype} "
                f"{list(self._layout.shape)}.",
                path=path,
            )
        return load_npy(Path(path)).reshape(self.shape[1:])


def _runs_of(indices: Indices) -> list[tuple[int, int, int]]:
    """(position, first index, count) of each run of consecutive indices."""
    listed = indices.tolist()
    runs = []
    start = 0
    for position in range(1, len(listed) + 1):
        if position == len(listed) or listed[position] != listed[position - 1] + 1:
            runs.append((start, listed[start], position - start))
            start = position
    return runs
