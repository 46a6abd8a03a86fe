"""Guarded reading of .npy and .npz: the header is parsed and checked against the bytes present before anything else.

`numpy.load` trusts headers (a 200-byte file may ask for 58 TiB) and zip directories (3 MB may unpack to 3 GB); these
functions refuse both, never unpickle, and raise DataFileError with the file and the reason.
"""

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

from gazetools.io.closing import Closing
from gazetools.schemas.errors import DataFileError

MAX_LOADED_BYTES = 2 << 30
"""Arrays that must be read whole (compressed or in Fortran order) may have at most this size."""
MAX_INFLATION = 100
INFLATION_CHECKED_BYTES = 256 << 20
"""Above this size a compressed member that grows more than MAX_INFLATION times is taken for a bomb."""
MAX_MEMBERS = 256
_MAX_DIRECTORY_BYTES = 1 << 20
_MAX_HEADER_BYTES = 4096
_MAX_RANK = 4
_MAGIC = b"\x93NUMPY"
_DTYPES = {"f2", "f4", "f8", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "b1"}

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ArrayLayout:
    """What an .npy header says, proven to fit the bytes that follow it."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    data_offset: int
    """Bytes from the start of the .npy (or of the member) to the first element."""

    @property
    def nbytes(self) -> int:
        """Size of the elements in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def npy_layout(path: Path) -> ArrayLayout:
    """Header of the .npy file `path`. Raises DataFileError where it is damaged or its size is a lie."""
    with _guard(path), path.open("rb") as file:
        return _read_layout(file, path.stat().st_size, where=str(path))


def load_npy(path: Path, *, max_bytes: int = MAX_LOADED_BYTES) -> AnyArray:
    """The array in the .npy file `path`, read whole. Raises DataFileError."""
    with _guard(path), path.open("rb") as file:
        layout = _read_layout(file, path.stat().st_size, where=str(path))
        return _read_whole(file, layout, where=str(path), max_bytes=max_bytes)


def iter_npy_blocks(path: Path, rows: int) -> Iterator[AnyArray]:
    """Consecutive blocks of at most `rows` along the first axis of the .npy file `path`, in bounded memory."""
    with _guard(path), path.open("rb") as file:
        layout = _read_layout(file, path.stat().st_size, where=str(path))
        yield from _iter_blocks(file, layout, rows, where=str(path))


class Npz(Closing):
    """An .npz archive opened for guarded reading; a context manager.

    Raises DataFileError for: not a zip, truncated, encrypted, duplicate or escaping names, members that are not .npy,
    methods other than stored and deflate, sizes that the archive cannot hold, damaged data (CRC).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _guard(path):
            self._file = path.open("rb")
            try:
                self._size = path.stat().st_size
                _check_directory_size(self._file, self._size, where=str(path))
                self._zip = zipfile.ZipFile(self._file)
                self._members = self._check_members()
            except BaseException:
                self._file.close()
                raise

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._zip.close()
        self._file.close()

    @property
    def names(self) -> list[str]:
        """Member names without `.npy`, in the order of the archive's directory."""
        return list(self._members)

    def is_stored(self, name: str) -> bool:
        """True where the member's bytes lie in the file uncompressed."""
        return self._info(name).compress_type == zipfile.ZIP_STORED

    def layout(self, name: str) -> ArrayLayout:
        """Header of the member, checked against its size in the directory."""
        with _guard(self.path), self._zip.open(self._info(name)) as stream:
            return _read_layout(stream, self._info(name).file_size, where=f"{self.path}:{name}")

    def element_offset(self, name: str) -> int:
        """Offset in the file of the first element of a stored member.

        The data start behind the *local* header, whose name and extra field may differ in length from the directory's.
        """
        info = self._info(name)
        with _guard(self.path):
            self._file.seek(info.header_offset)
            local = self._file.read(30)
            if len(local) != 30 or local[:4] != b"PK\x03\x04":
                raise zipfile.BadZipFile(f"no local header at byte {info.header_offset}")
            name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
            start = info.header_offset + 30 + name_bytes + extra_bytes
            if start + info.file_size > self._zip.start_dir:
                raise zipfile.BadZipFile(f"member {name!r} reaches beyond the archive's data")
        return start + self.layout(name).data_offset

    def load(self, name: str, *, max_bytes: int = MAX_LOADED_BYTES) -> AnyArray:
        """The member as an array, read whole with its CRC checked."""
        where = f"{self.path}:{name}"
        with _guard(self.path), self._zip.open(self._info(name)) as stream:
            layout = _read_layout(stream, self._info(name).file_size, where=where)
            array = _read_whole(stream, layout, where=where, max_bytes=max_bytes)
            stream.read(1)  # reaching the end is what makes zipfile compare the CRC
            return array

    def iter_blocks(self, name: str, rows: int) -> Iterator[AnyArray]:
        """Consecutive blocks of at most `rows` along the member's first axis; the CRC is checked at the end."""
        where = f"{self.path}:{name}"
        with _guard(self.path), self._zip.open(self._info(name)) as stream:
            layout = _read_layout(stream, self._info(name).file_size, where=where)
            yield from _iter_blocks(stream, layout, rows, where=where)
            stream.read(1)

    def _info(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._members[name]
        except KeyError:
            raise DataFileError(
                f"{self.path} has no member {name!r}; it has {self.names}.", path=str(self.path)
            ) from None

    def _check_members(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        if not 1 <= len(infos) <= MAX_MEMBERS:
            raise zipfile.BadZipFile(f"it has {len(infos)} members; 1 to {MAX_MEMBERS} are allowed")
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.filename
            if not name.endswith(".npy") or name.startswith("/") or "\\" in name or ".." in name.split("/"):
                raise zipfile.BadZipFile(f"member {name!r} is not a plain .npy name")
            if name[:-4] in members:
                raise zipfile.BadZipFile(f"member {name!r} occurs twice")
            if info.flag_bits & 0x1:
                raise zipfile.BadZipFile(f"member {name!r} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile(f"member {name!r} is compressed by method {info.compress_type}")
            if info.header_offset < 0 or info.header_offset + 30 + info.compress_size > self._size:
                raise zipfile.BadZipFile(f"member {name!r} reaches beyond the file")
            if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
                raise zipfile.BadZipFile(f"stored member {name!r} states two sizes")
            if info.file_size > INFLATION_CHECKED_BYTES and info.file_size > MAX_INFLATION * info.compress_size:
                raise zipfile.BadZipFile(f"member {name!r} would unpack {info.compress_size} to {info.file_size} bytes")
            members[name[:-4]] = info
        return members


def _read_layout(stream: IO[bytes], total_bytes: int, *, where: str) -> ArrayLayout:
    """Read the header at the stream's start and prove that `total_bytes` is header plus elements, exactly."""
    start = stream.read(12)
    if len(start) < 10 or start[:6] != _MAGIC:
        raise DataFileError(f"{where} is not an .npy array (its first bytes are {start[:6]!r}).")
    major = start[6]
    if major not in (1, 2) or len(start) < 12:
        raise DataFileError(f"{where} has .npy format version {major}; versions 1 and 2 hold plain arrays.")
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
        raise DataFileError(f"{where} has an .npy header that is refused: {error}.") from error
    layout = ArrayLayout(dtype=dtype, shape=shape, fortran_order=fortran_order, data_offset=prefix + length)
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
        raise ValueError(f"dtype {dtype} is not a plain number type ({', '.join(sorted(_DTYPES))})")
    if len(shape) > _MAX_RANK or any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"shape {shape} must have at most {_MAX_RANK} non-negative sizes")
    return dtype, tuple(shape), fortran_order


def _read_whole(stream: IO[bytes], layout: ArrayLayout, *, where: str, max_bytes: int) -> AnyArray:
    if layout.nbytes > max_bytes:
        raise DataFileError(
            f"{where} has {layout.nbytes} bytes that must be read whole; at most {max_bytes} are allowed.",
            hint="Store it uncompressed in C order (numpy.savez), so that frames can be read one by one.",
        )
    data = _read_exactly(stream, layout.nbytes, where=where)
    flat = np.frombuffer(data, dtype=layout.dtype)
    return flat.reshape(layout.shape, order="F" if layout.fortran_order else "C")


def _iter_blocks(stream: IO[bytes], layout: ArrayLayout, rows: int, *, where: str) -> Iterator[AnyArray]:
    if not layout.shape:
        raise DataFileError(f"{where} is a single number; an array with a first axis is needed.")
    if layout.fortran_order and len(layout.shape) > 1:
        whole = _read_whole(stream, layout, where=where, max_bytes=MAX_LOADED_BYTES)
        yield from (whole[start : start + rows] for start in range(0, len(whole), rows))
        return
    row_shape = layout.shape[1:]
    row_bytes = math.prod(row_shape) * layout.dtype.itemsize
    for start in range(0, layout.shape[0], rows):
        count = min(rows, layout.shape[0] - start)
        data = _read_exactly(stream, count * row_bytes, where=where)
        yield np.frombuffer(data, dtype=layout.dtype).reshape((count, *row_shape))


def _read_exactly(stream: IO[bytes], size: int, *, where: str) -> bytearray:
    # grown in steps, so that a lying size costs no more memory than there are bytes
    data = bytearray()
    while len(data) < size:
        block = stream.read(min(size - len(data), 16 << 20))
        if not block:
            raise DataFileError(f"{where} ends after {len(data)} of {size} bytes.", hint="Copy or make it again.")
        data += block
    return data


def _check_directory_size(file: IO[bytes], size: int, *, where: str) -> None:
    """Refuse a huge zip directory before zipfile makes objects of it.

    End records as in PKWARE's APPNOTE.TXT 4.3.14-4.3.16 (end of central directory, its zip64 locator and record).
    """
    tail_start = max(0, size - (1 << 16) - 22)
    file.seek(tail_start)
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        raise zipfile.BadZipFile("it is no zip archive or ends too early")
    directory_bytes = struct.unpack_from("<I", tail, end + 12)[0]
    if directory_bytes == 0xFFFFFFFF:
        locator = tail[max(0, end - 20) : end]
        if len(locator) != 20 or locator[:4] != b"PK\x06\x07":
            raise zipfile.BadZipFile("its zip64 locator is missing")
        file.seek(struct.unpack_from("<Q", locator, 8)[0])
        record = file.read(56)
        if len(record) != 56 or record[:4] != b"PK\x06\x06":
            raise zipfile.BadZipFile("its zip64 end record is missing")
        directory_bytes = struct.unpack_from("<Q", record, 40)[0]
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        raise zipfile.BadZipFile(f"its directory has {directory_bytes} bytes; {_MAX_DIRECTORY_BYTES} are allowed")
    file.seek(0)


@contextmanager
def _guard(path: Path) -> Iterator[None]:
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
            f"{path} is damaged or not a usable .npz archive: {error}.", hint="Copy or make it again.", path=str(path)
        ) from error
