"""The layout `npy`: a folder per video with one array per frame."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.io.arrays import AnyArray, ArrayHeader, load_npy, npy_layout
from gazetools.io.atomic import atomic_folder, sha256_of_file
from gazetools.io.npz import Npz
from gazetools.io.pt_archive import PtArchive
from gazetools.io.space import blocks
from gazetools.layouts.axes import FRAME_ORDERS, AxisOrder
from gazetools.layouts.base import DatasetLayout, Indices, SideMembers, StoredMaps
from gazetools.layouts.choosing import frame_order
from gazetools.layouts.npz import npy_header, write_members
from gazetools.layouts.stream import MapStream, Written
from gazetools.schemas.dataset import INDEX_NPZ
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.foreign import ArrayChoice

_NUMBERED_FRAME = re.compile(r"^(?:.*\D)?(\d{1,9})\.npy$", re.IGNORECASE)
_NUMBERED_FILE = re.compile(r"^((?:.*\D)?)(\d{1,9})\.(?:npz|pt|pth|pkl|pickle|mat)$", re.IGNORECASE)
_FEWEST_FRAMES = 3
"""So many single maps in numbered files are those of frames, not of videos."""


class NpyFolder(DatasetLayout):
    """`<video_id>/frame_000000.npy` ... with the members in `index.npz`; the number is the index of the frame."""

    suffix = ""
    files_hint = "Use --layout npz: one file per video."

    def write(self, path: Path, stream: MapStream) -> Written:
        header = npy_header(stream.shape[1:], stream.dtype)
        sums: dict[str, str] = {}
        total = 0
        with atomic_folder(path) as temp:
            for block in stream.blocks:
                for frame in np.ascontiguousarray(block):
                    data = header + frame.tobytes()
                    name = f"frame_{len(sums):06d}.npy"
                    (temp / name).write_bytes(data)
                    sums[name] = hashlib.sha256(data).hexdigest()
                    total += len(data)
            index = temp / INDEX_NPZ
            with zipfile.ZipFile(index, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                write_members(archive, stream.members())
            sums[INDEX_NPZ] = sha256_of_file(index)
            total += index.stat().st_size
        return Written(sha256=sha256_of_listing(sums.items()), bytes=total)

    def open_members(self, path: Path, *, required: bool) -> Npz | None:
        """Frames of other tools have no `index.npz`."""
        index = path / INDEX_NPZ
        return Npz(index) if required or index.exists() else None

    def header(self, path: Path, members: SideMembers | None = None) -> tuple[ArrayHeader, str]:
        """The header of the first frame, a map [H, W] or [1, H, W]."""
        first = _first_of(path, self.frames(path))
        header = npy_layout(first)
        return replace(header, shape=self.order_of(header.shape, str(first)).thw(header.shape)), str(first)

    def open(self, path: Path, members: SideMembers | None = None) -> StoredMaps:
        return FolderMaps(path, self.frames(path), self.order_of)

    def frames(self, path: Path) -> dict[int, str]:
        """Frame index -> file name. Raises DataFileError where two files have one number."""
        return numbered_frames(path)

    def order_of(self, shape: tuple[int, ...], where: str) -> AxisOrder:
        """Order of the axes of a frame's file, which holds one map. Raises DataFileError."""
        return frame_order(shape, ArrayChoice(axes="HW"), where)

    def sha256(self, path: Path) -> str:
        """The checksum of the listing of all files."""
        names = [*numbered_frames(path).values(), *([INDEX_NPZ] if (path / INDEX_NPZ).exists() else [])]
        return sha256_of_listing((name, sha256_of_file(path / name)) for name in names)

    def bytes_at(self, path: Path) -> int | None:
        if not (path / INDEX_NPZ).is_file():
            return None
        return sum(file.stat().st_size for file in path.iterdir())

    def need(self, frames: int, map_bytes: int) -> tuple[int, int]:
        """Every frame takes whole blocks of the disk for its header of 128 bytes and its map."""
        return frames * blocks(128 + map_bytes), frames

    def readme(self, file: str) -> str:
        return f"Or with numpy alone: `numpy.load({file + '/frame_000000.npy'!r})`; `index.npz` has the rest."


class FolderMaps(StoredMaps):
    """Maps of a folder of frames.

    Args:
        folder: the folder.
        names: frame index -> name of its file.
        order_of: returns the order of the axes of a file by its shape and its name for messages.
    """

    def __init__(
        self, folder: Path, names: dict[int, str], order_of: Callable[[tuple[int, ...], str], AxisOrder]
    ) -> None:
        self.path = folder
        self._names = names
        self._order_of = order_of
        first = _first_of(folder, self._names)
        header = npy_layout(first)
        order = order_of(header.shape, str(first))
        self.shape = (max(self._names) + 1, *order.thw(header.shape)[1:])
        self.dtype = header.dtype
        self._plain = order.in_order and not header.fortran_order
        self._header = header
        self._prefix = str(folder) + os.sep
        with first.open("rb") as file:
            self._start = file.read(header.data_offset)

    def read(self, indices: Indices) -> AnyArray:
        """Raises DataFileError where a frame's file is missing, damaged or unlike the others."""
        maps = np.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        for position, index in enumerate(indices.tolist()):
            maps[position] = self._read_one(index)
        return maps

    def present(self) -> npt.NDArray[np.bool_] | None:
        if len(self._names) == self.shape[0]:
            return None
        present = np.zeros(self.shape[0], dtype=np.bool_)
        present[list(self._names)] = True
        return present

    def _read_one(self, index: int) -> AnyArray:
        if (name := self._names.get(index)) is None:
            raise DataFileError(f"{self.path} has no file for frame {index}.", path=str(self.path), frame=index)
        path = self._prefix + name
        size = len(self._start) + self._header.nbytes
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half the cost of Path.open, once per frame
                data = file.read(size + 1)
        except OSError as error:
            raise DataFileError(f"Cannot read {path}: {error.strerror}.", path=path) from error
        # the frames of one folder have equal headers, so that comparing bytes replaces parsing
        if len(data) == size and data.startswith(self._start) and self._plain:
            return np.frombuffer(data, self.dtype, offset=len(self._start)).reshape(self.shape[1:])
        other = npy_layout(Path(path))
        order = self._order_of(other.shape, path)
        if order.thw(other.shape) != (1, *self.shape[1:]) or other.dtype != self.dtype:
            raise DataFileError(
                f"{path} is {other.dtype} {list(other.shape)}, but the folder's first frame is {self.dtype} "
                f"{list(self._header.shape)}.",
                path=path,
            )
        return order.arranged(load_npy(Path(path)))[0]


def is_frame_folder(folder: Path) -> bool:
    """Whether the first numbered .npy in `folder` is one map ([H,W], [1,H,W], [H,W,1]), as one that can't be read.

    Also where there are only numbered .npz or .pt with one map each, so that they are refused as one video.
    """
    names = sorted(p.name for p in folder.iterdir() if _NUMBERED_FRAME.match(p.name) and not p.name.startswith("."))
    if not names:
        return any(holds_archive_frames(folder, suffix) for suffix in (".npz", ".pt", ".pth"))
    try:
        shape = npy_layout(folder / names[0]).shape
    except DataFileError:
        return True
    return any(AxisOrder(letters).fits(shape) for letters in FRAME_ORDERS)


def numbered_frames(folder: Path) -> dict[int, str]:
    """Frame number -> file name of the .npy files in `folder`. DataFileError where two have one number."""
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataFileError(f"Cannot read {folder}: {error.strerror}.", path=str(folder)) from error
    frames: dict[int, str] = {}
    for match in filter(None, map(_NUMBERED_FRAME.match, names)):
        number, name = int(match.group(1)), match.string
        if number in frames:
            raise DataFileError(f"{folder}: {frames[number]} and {name} have the same frame number {number}.")
        frames[number] = name
    return frames


def _first_of(folder: Path, frames: dict[int, str]) -> Path:
    """The file of the first frame. Raises DataFileError where there is none."""
    if not frames:
        raise DataFileError(f"{folder} holds no numbered .npy frames.", path=str(folder))
    return folder / frames[min(frames)]


def sha256_of_listing(sums: Iterable[tuple[str, str]]) -> str:
    """sha256 of the sorted lines `name sha256` of a folder's files."""
    lines = sorted(f"{name} {checksum}" for name, checksum in sums)
    return hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()


def frames_of_other_formats(folder: Path) -> dict[int, str]:
    """Number -> name of the files that are named like the numbered .npy in `folder` but are no .npy."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    starts = {re.sub(r"\d+\.npy$", "", name, flags=re.IGNORECASE) for name in names if _NUMBERED_FRAME.match(name)}
    found = [match for match in map(_NUMBERED_FILE.match, names) if match is not None]
    return {int(match[2]): match.string for match in found if match[1] in starts or not starts}


def holds_archive_frames(folder: Path, suffix: str = ".npz") -> bool:
    """Whether `folder` has one .npz or .pt for each frame: names with a number that counts up, one map each."""
    others = {number: name for number, name in frames_of_other_formats(folder).items() if name.lower().endswith(suffix)}
    starts = {re.sub(rf"\d+\{suffix}$", "", name, flags=re.IGNORECASE) for name in others.values()}
    if len(others) < _FEWEST_FRAMES or len(starts) > 1 or max(others) - min(others) >= len(others):
        return False
    for name in (others[min(others)], others[max(others)]):
        try:
            with Npz(folder / name) if suffix == ".npz" else PtArchive(folder / name) as archive:
                headers = [archive.layout(member) for member in archive.names]
        except DataFileError:
            return False
        if not any(AxisOrder(letters).fits(one.shape) for one in headers for letters in FRAME_ORDERS):
            return False
        if any(len(one.shape) >= 3 and max(one.shape[:-2]) > 1 for one in headers):
            return False
    return True
