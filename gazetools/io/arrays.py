"""Guarded reading of .npy: headers are checked against the bytes present, which `numpy.load` does not do (a 200-byte
file may ask for 58 TiB); nothing is unpickled, and DataFileError names the file and the reason."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from gazetools.schemas.errors import DataFileError

MAX_LOADED_BYTES = 2 << 30
"""Arrays that must be read whole (compressed or in Fortran order) may have at most this size."""
_MAX_HEADER_BYTES = 4096
_MAX_RANK = 4
_MAGIC = b"\x93NUMPY"
_DTYPES = {"f2", "f4", "f8", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "b1"}

AnyArray = npt.NDArray[Any]


class _NotPlainError(ValueError):
    """A whole array of another kind: objects, texts, times, more than four axes. Errors about it say `plain` False."""


@dataclass(frozen=True, kw_only=True)
class ArrayHeader:
    """An .npy header that is proven to fit the bytes that follow it."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    data_offset: int
    """Bytes from the start of the .npy (or of the member) to the first element."""

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def npy_layout(path: Path) -> ArrayHeader:
    """Header of the .npy file `path`. Raises DataFileError where it is damaged or its size is wrong."""
    with _opened(path) as (_, header):
        return header


def load_npy(path: Path) -> AnyArray:
    """The array in the .npy file `path`, read whole. Raises DataFileError."""
    with _opened(path) as (file, header):
        return read_whole(file, header, where=str(path))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], ArrayHeader]]:
    """An .npy file behind its checked header."""
    with guard(path), path.open("rb") as file:
        yield file, read_layout(file, path.stat().st_size, where=str(path))


def read_layout(stream: IO[bytes], total_bytes: int, *, where: str) -> ArrayHeader:
    """Read the header at the stream's start and prove that `total_bytes` is header plus elements, exactly."""
    start = stream.read(12)
    if len(start) < 10 or start[:6] != _MAGIC:
        raise DataFileError(f"{where} is not an .npy array (its first bytes are {start[:6]!r}).")
    major = start[6]
    if major not in (1, 2) or len(start) < 12:
        raise DataFileError(
            f"{where} has .npy format version {major}; versions 1 and 2 hold plain arrays.", plain=major != 3
        )
    prefix = 10 if major == 1 else 12
    length = int.from_bytes(start[8:prefix], "little")
    if length > _MAX_HEADER_BYTES or prefix + length > total_bytes:
        raise DataFileError(f"{where} has an .npy header of {length} bytes; at most {_MAX_HEADER_BYTES} are allowed.")
    header = start[prefix:] + stream.read(max(0, length - (12 - prefix)))
    if len(header) != length:
        raise DataFileError(f"{where} ends inside its .npy header.")
    try:
        dtype, shape, fortran_order = _parse_header(major, header)
    except ValueError as error:
        raise DataFileError(
            f"{where} has an .npy header that is refused: {error}.",
            hint="Store the maps as one array of numbers: numpy.savez('VIDEO.npz', heatmap=numpy.stack(MAPS)).",
            plain=not isinstance(error, _NotPlainError),
        ) from error
    layout = ArrayHeader(dtype=dtype, shape=shape, fortran_order=fortran_order, data_offset=prefix + length)
    present = total_bytes - layout.data_offset
    if layout.nbytes != present:
        state = "is truncated" if layout.nbytes > present else "has bytes after its array"
        raise DataFileError(
            f"{where} {state}: shape {list(shape)} of {dtype.name} takes {layout.nbytes} bytes, {present} are there.",
            hint="Copy or make the file again.",
        )
    return layout


@lru_cache(maxsize=256)
def _parse_header(major: int, header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """(dtype, shape, fortran_order) of a header; cached, since the frames of a folder all have the same."""
    read = npy_format.read_array_header_1_0 if major == 1 else npy_format.read_array_header_2_0
    packed = struct.pack("<H" if major == 1 else "<I", len(header)) + header
    try:
        shape, fortran_order, dtype = read(io.BytesIO(packed), max_header_size=_MAX_HEADER_BYTES)
    except Exception as error:  # numpy lets through what its tokenizer and ast raise, such as tokenize.TokenError
        raise ValueError(str(error).split("\n")[0][:200]) from error
    if dtype.hasobject or dtype.str[1:] not in _DTYPES:
        raise _NotPlainError(f"dtype {str(dtype)[:100]} is not a plain number type ({', '.join(sorted(_DTYPES))})")
    if len(shape) > _MAX_RANK and all(type(n) is int and n >= 0 for n in shape):
        raise _NotPlainError(f"shape {shape} has {len(shape)} axes; at most {_MAX_RANK} are read")
    if len(shape) > _MAX_RANK or any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"shape {shape} must have at most {_MAX_RANK} non-negative sizes")
    return dtype, tuple(shape), fortran_order


def read_whole(stream: IO[bytes], layout: ArrayHeader, *, where: str) -> AnyArray:
    """The elements behind a header that was just read, refused above `MAX_LOADED_BYTES`."""
    if layout.nbytes > MAX_LOADED_BYTES:
        raise DataFileError(
            f"{where} has {layout.nbytes} bytes that must be read whole; at most {MAX_LOADED_BYTES} are allowed.",
            hint="Store it uncompressed in C order (numpy.savez), so that frames can be read one by one.",
        )
    flat = np.frombuffer(_read_exactly(stream, layout.nbytes, where=where), dtype=layout.dtype)
    return flat.reshape(layout.shape, order="F" if layout.fortran_order else "C")


def iter_blocks(stream: IO[bytes], layout: ArrayHeader, rows: int, *, where: str) -> Iterator[AnyArray]:
    """The elements behind a header that was just read, in blocks of `rows`; in Fortran order they are read whole."""
    if not layout.shape:
        raise DataFileError(f"{where} is a single number; an array with a first axis is needed.")
    if layout.fortran_order and len(layout.shape) > 1:
        whole = read_whole(stream, layout, where=where)
        yield from (whole[start : start + rows] for start in range(0, len(whole), rows))
        return
    row_shape = layout.shape[1:]
    row_bytes = math.prod(row_shape) * layout.dtype.itemsize
    for start in range(0, layout.shape[0], rows):
        count = min(rows, layout.shape[0] - start)
        data = _read_exactly(stream, count * row_bytes, where=where)
        yield np.frombuffer(data, dtype=layout.dtype).reshape((count, *row_shape))


def _read_exactly(stream: IO[bytes], size: int, *, where: str) -> bytearray:
    # grown in steps, so that a wrong size costs no more memory than there are bytes
    data = bytearray()
    while len(data) < size:
        block = stream.read(min(size - len(data), 16 << 20))
        if not block:
            raise DataFileError(f"{where} ends after {len(data)} of {size} bytes.", hint="Copy or make it again.")
        data += block
    return data


@contextmanager
def guard(path: Path, what: str = ".npz archive") -> Iterator[None]:
    """Turn what reading a damaged file can raise into a DataFileError that names it."""
    try:
        yield
    except DataFileError:
        raise
    except OSError as error:
        raise DataFileError(f"Cannot read {path}: {error.strerror or error}.", path=str(path)) from error
    # RuntimeError: zipfile's answer to encrypted members; NotImplementedError (a RuntimeError): to unknown methods
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, struct.error, OverflowError) as error:
        raise DataFileError(
            f"{path} is damaged or not a usable {what}: {error}.", hint="Copy or make it again.", path=str(path)
        ) from error
