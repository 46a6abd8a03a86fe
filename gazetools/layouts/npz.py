"""The layout `npz`: one stored archive per video."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from gazetools.io.arrays import AnyArray, ArrayHeader
from gazetools.io.atomic import atomic_path, sha256_while_synced
from gazetools.io.npz import Npz
from gazetools.io.parallel import ahead
from gazetools.layouts.base import DatasetLayout, FileMaps, MemoryMaps, SideMembers, StoredMaps
from gazetools.layouts.stream import MapStream, Written
from gazetools.schemas.dataset import HEATMAP_MEMBER

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_ALIGNMENT = 64
_ALIGNMENT_FIELD = 0xD935  # id of the extra field that Android's zipalign pads with; readers skip it


class NpzLayout(DatasetLayout):
    """`<video_id>.npz`, uncompressed, with `heatmap` first, at a multiple of 64 bytes so that any tool may map it."""

    suffix = ".npz"

    def write(self, path: Path, stream: MapStream) -> Written:
        with atomic_path(path) as temp:
            with zipfile.ZipFile(temp, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                header = npy_header(stream.shape, stream.dtype)
                size = len(header) + math.prod(stream.shape) * stream.dtype.itemsize
                with _open_member(archive, HEATMAP_MEMBER, size, aligned=True) as file:
                    file.write(header)
                    for block in ahead(stream.blocks):
                        file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
                write_members(archive, stream.members())
            return Written(sha256=sha256_while_synced(temp), bytes=temp.stat().st_size)

    def open_members(self, path: Path, *, required: bool) -> Npz:
        return Npz(path)

    def header(self, path: Path, members: SideMembers | None = None) -> tuple[ArrayHeader, str]:
        """The member `heatmap`."""
        if members is None:
            with Npz(path) as archive:
                return self.header(path, archive)
        return members.layout(HEATMAP_MEMBER), f"{path}:{HEATMAP_MEMBER}"

    def open(self, path: Path, members: SideMembers | None = None) -> StoredMaps:
        """Compressed maps and those in Fortran order are read whole."""
        if not isinstance(members, Npz):
            with Npz(path) as archive:
                return self.open(path, archive)
        header, where = self.header(path, members)
        if members.is_stored(HEATMAP_MEMBER) and not header.fortran_order:
            return FileMaps(path, header, members.element_offset(HEATMAP_MEMBER))
        return MemoryMaps(members.load(HEATMAP_MEMBER), where=where)

    def blocks(self, path: Path, rows: int, members: SideMembers | None = None) -> Iterator[AnyArray]:
        """Compares the CRC at the end."""
        with Npz(path) as archive:
            yield from archive.iter_blocks(HEATMAP_MEMBER, rows)

    def readme(self, file: str) -> str:
        return f"Or with numpy alone: `numpy.load({file!r})['heatmap']`, `[T,H,W]`."


def write_members(archive: zipfile.ZipFile, members: dict[str, npt.NDArray[Any]]) -> None:
    """Add arrays to an archive, stored, with bytes that depend on nothing but them."""
    for name, array in members.items():
        header = npy_header(array.shape, array.dtype)
        with _open_member(archive, name, len(header) + array.nbytes, aligned=False) as file:
            file.write(header)
            file.write(np.ascontiguousarray(array).tobytes())


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """What precedes the elements in an .npy file."""
    stream = io.BytesIO()
    header = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def _open_member(archive: zipfile.ZipFile, name: str, size: int, *, aligned: bool) -> IO[bytes]:
    info = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_DATE)
    # fixed, so that the bytes depend on no machine and no umask
    info.create_system, info.external_attr, info.file_size = 3, 0o644 << 16, size
    large = size > (1 << 31) - 1
    if aligned:
        info.extra = _alignment_field(archive, info, large=large)
    return archive.open(info, "w", force_zip64=large)


def _alignment_field(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, large: bool) -> bytes:
    """Extra field whose length makes the member's data begin at a multiple of _ALIGNMENT in the file."""
    local_header = 30 + len(info.filename) + (20 if large else 0)
    start = (archive.fp.tell() if archive.fp else 0) + local_header
    padding = 6 + -(start + 6) % _ALIGNMENT  # the field itself takes 6 bytes
    return struct.pack("<HHH", _ALIGNMENT_FIELD, padding - 4, _ALIGNMENT) + bytes(padding - 6)
