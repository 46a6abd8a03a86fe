"""Write the maps of one video as an .npz or as a folder of .npy files; the same input gives the same bytes.

The members beside the maps are asked for once the last block is written: some are known only then.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from gazetools.io.atomic import atomic_folder, atomic_path, sha256_of_file, sha256_while_synced
from gazetools.io.parallel import ahead
from gazetools.layouts.members import Blocks, Members, Written
from gazetools.schemas.dataset import HEATMAP_MEMBER, INDEX_NPZ, LayoutName, frame_file_name

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_ALIGNMENT = 64
_ALIGNMENT_FIELD = 0xD935
"""Id of the zip extra field that Android's zipalign pads with; readers skip ids they do not know."""


def write_maps(
    layout: LayoutName,
    path: Path,
    blocks: Blocks,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    members: Members,
) -> Written:
    """Commit the maps [T, H, W] at `path` in one of the layouts."""
    if layout == "hdf5":
        from gazetools.layouts.hdf5_writer import write_hdf5

        return write_hdf5(path, blocks, shape, dtype, members)
    write = write_npz if layout == "npz" else write_npy_folder
    return write(path, blocks, shape, dtype, members)


def write_npz(
    path: Path,
    blocks: Blocks,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    members: Members,
) -> Written:
    """Commit `path` with the member `heatmap` (from `blocks`) and then `members`, all stored uncompressed.

    The first element of the maps lies at a multiple of 64 bytes, so that any tool may map it into memory.
    """
    with atomic_path(path) as temp:
        with zipfile.ZipFile(temp, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            header = _npy_header(shape, dtype)
            size = len(header) + math.prod(shape) * dtype.itemsize
            with _open_member(archive, HEATMAP_MEMBER, size, aligned=True) as stream:
                stream.write(header)
                for block in ahead(blocks):
                    stream.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
            _write_members(archive, members.collect())
        written = Written(sha256=sha256_while_synced(temp), bytes=temp.stat().st_size)
    return written


def write_npy_folder(
    folder: Path,
    blocks: Blocks,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    members: Members,
) -> Written:
    """Commit `folder` with one .npy [H, W] per frame and `index.npz` with `members`."""
    header = _npy_header(shape[1:], dtype)
    lines: list[str] = []
    total = index = 0
    with atomic_folder(folder) as temp:
        for block in blocks:
            for frame in np.ascontiguousarray(block):
                data = header + frame.tobytes()
                name = frame_file_name(index)
                (temp / name).write_bytes(data)
                lines.append(f"{name} {hashlib.sha256(data).hexdigest()}")
                total, index = total + len(data), index + 1
        with zipfile.ZipFile(temp / INDEX_NPZ, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            _write_members(archive, members.collect())
        lines.append(f"{INDEX_NPZ} {sha256_of_file(temp / INDEX_NPZ)}")
        total += (temp / INDEX_NPZ).stat().st_size
    return Written(sha256=sha256_of_listing(lines), bytes=total)


def sha256_of_listing(lines: list[str]) -> str:
    """sha256 of the sorted `name sha256` lines of a folder's files."""
    return hashlib.sha256(("\n".join(sorted(lines)) + "\n").encode()).hexdigest()


def _write_members(archive: zipfile.ZipFile, members: dict[str, npt.NDArray[Any]]) -> None:
    for name, array in members.items():
        header = _npy_header(array.shape, array.dtype)
        with _open_member(archive, name, len(header) + array.nbytes, aligned=False) as stream:
            stream.write(header)
            stream.write(np.ascontiguousarray(array).tobytes())


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
    padding = -start % _ALIGNMENT
    if padding < 6:
        padding += _ALIGNMENT
    return struct.pack("<HHH", _ALIGNMENT_FIELD, padding - 4, _ALIGNMENT) + bytes(padding - 6)


def _npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    stream = io.BytesIO()
    npy_format.write_array_header_1_0(
        stream, {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()
