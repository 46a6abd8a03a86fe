"""Guarded reading of .npz: directory, names, sizes and checksums are checked first (3 MB may unpack to 3 GB)."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gazetools.io.arrays import AnyArray, ArrayHeader, guard, iter_blocks, read_layout, read_whole
from gazetools.io.closing import Closing
from gazetools.schemas.errors import DataFileError

MAX_INFLATION = 100
INFLATION_CHECKED_BYTES = 256 << 20
"""Size from which a compressed member that grows more than MAX_INFLATION times is refused as a bomb."""
MAX_MEMBERS = 256
_MAX_DIRECTORY_BYTES = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ONE_STACK = "Maps of single frames belong into one array: numpy.savez(FILE, heatmap=numpy.stack(MAPS))."


class Npz(Closing):
    """An .npz archive opened for guarded reading.

    Raises DataFileError for: not a zip, truncated, encrypted, duplicate or escaping names, members that are not .npy,
    methods other than stored and deflate, sizes that the archive cannot hold, damaged data (CRC).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with guard(path):
            self._file = path.open("rb")
            try:
                self._size = path.stat().st_size
                _check_directory_size(self._file, self._size)
                self._zip = zipfile.ZipFile(self._file)
                self._members = self._check_members()
            except BaseException:
                self._file.close()
                raise

    def close(self) -> None:
        self._zip.close()
        self._file.close()

    @property
    def names(self) -> list[str]:
        """Member names without `.npy`, in the order of the archive's directory."""
        return list(self._members)

    def is_stored(self, name: str) -> bool:
        """True where the member's bytes lie in the file uncompressed."""
        return self._info(name).compress_type == zipfile.ZIP_STORED

    def layout(self, name: str) -> ArrayHeader:
        """Header of the member, checked against its size in the directory."""
        with self._opened(name) as (_, header, _):
            return header

    def element_offset(self, name: str) -> int:
        """Offset in the file of a stored member's first element, by its *local* header: lengths may differ there."""
        info = self._info(name)
        with guard(self.path):
            start = local_data_start(self._file, info, self._zip.start_dir)
        return start + self.layout(name).data_offset

    def load(self, name: str) -> AnyArray:
        """The member as an array, read whole with its CRC checked."""
        with self._opened(name) as (stream, header, where):
            array = read_whole(stream, header, where=where)
            stream.read(1)  # reaching the end is what makes zipfile compare the CRC
            return array

    def iter_blocks(self, name: str, rows: int) -> Iterator[AnyArray]:
        """Consecutive blocks of at most `rows` along the member's first axis; the CRC is checked at the end."""
        with self._opened(name) as (stream, header, where):
            yield from iter_blocks(stream, header, rows, where=where)
            stream.read(1)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[IO[bytes], ArrayHeader, str]]:
        """A member behind its checked header, and its name for messages."""
        info, where = self._info(name), f"{self.path}:{name}"
        with guard(self.path), self._zip.open(info) as stream:
            yield stream, read_layout(stream, info.file_size, where=where), where

    def _info(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._members[name]
        except KeyError:
            raise DataFileError(
                f"{self.path} has no member {name!r}; it has {self.names}.", path=str(self.path)
            ) from None

    def _check_members(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        if not infos:
            raise zipfile.BadZipFile("it has no members")
        if len(infos) > MAX_MEMBERS:
            raise DataFileError(
                f"{self.path} has {len(infos)} arrays; at most {MAX_MEMBERS} are read.",
                hint=_ONE_STACK,
                path=str(self.path),
            )
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name, size, packed, method = info.filename, info.file_size, info.compress_size, info.compress_type
            foreign = not name.endswith(".npy") or name.startswith("/") or "\\" in name or ".." in name.split("/")
            for wrong, what in (
                (foreign, f"member {name!r} is not a plain .npy name"),
                (name[:-4] in members, f"member {name!r} occurs twice"),
                (info.flag_bits & 0x1, f"member {name!r} is encrypted"),
                (method not in _METHODS, f"member {name!r} is compressed by method {method}"),
                (not 0 <= info.header_offset <= self._size - 30 - packed, f"member {name!r} reaches beyond the file"),
                (method == zipfile.ZIP_STORED and size != packed, f"stored member {name!r} states two sizes"),
                (
                    size > max(INFLATION_CHECKED_BYTES, MAX_INFLATION * packed),
                    f"member {name!r} would unpack {packed} to {size} bytes",
                ),
            ):
                if wrong:
                    raise zipfile.BadZipFile(what)
            members[name[:-4]] = info
        return members


def local_data_start(file: IO[bytes], info: zipfile.ZipInfo, end: int) -> int:
    """Offset of a stored member's bytes by its local header; BadZipFile where they reach `end`, the directory."""
    file.seek(info.header_offset)
    local = file.read(30)
    if len(local) != 30 or local[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no local header at byte {info.header_offset}")
    name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
    start: int = info.header_offset + 30 + name_bytes + extra_bytes
    if start + info.file_size > end:
        raise zipfile.BadZipFile(f"member {info.filename!r} reaches beyond the archive's data")
    return start


def _check_directory_size(file: IO[bytes], size: int) -> None:
    """Refuse a huge zip directory before zipfile makes objects of it (end records: APPNOTE.TXT 4.3.14-4.3.16)."""
    file.seek(max(0, size - (1 << 16) - 22))
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
