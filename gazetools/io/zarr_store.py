"""The arrays of a zarr store, version 2 or 3, in a folder or a .zip; only codecs that cannot run code are used."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from gazetools.io.arrays import MAX_LOADED_BYTES, AnyArray, ArrayHeader
from gazetools.io.closing import Closing
from gazetools.io.npz import INFLATION_CHECKED_BYTES
from gazetools.schemas.errors import DataFileError, EnvironmentLacksError, GazetoolsError

_PLAIN_CODECS = frozenset(
    {
        *("blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2", "shuffle", "delta", "fixedscaleoffset", "quantize"),
        *("bitround", "astype", "packbits", "crc32", "crc32c", "adler32", "fletcher32", "bytes", "transpose"),
        *("sharding_indexed", "endian"),
    }
)
"""Codecs of numbers; `pickle` would run code, and texts and objects are no heatmaps."""
_MAX_RANK, _MAX_ARRAYS, _MAX_DEPTH = 4, 256, 3
_MAX_INFLATION = 1000
"""Maps without gaze compress well, so that more is allowed than of an .npz."""
_TYPES = "fbui"


class ZarrStore(Closing):
    """A zarr store, open for reading: one array (named ``), or the arrays of a group by their paths.

    Chunks that are not there have the fill value, as zarr defines; a store without any chunk is refused.
    Raises EnvironmentLacksError without the package, DataFileError for what is no zarr store or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        zarr = _import_zarr()
        with self._guarded("cannot be opened as a zarr store"):
            if path.is_dir():
                self._store: Any = zarr.storage.LocalStore(path, read_only=True)
            else:
                _check_zip(path)
                self._store = zarr.storage.ZipStore(path, mode="r")
            node = zarr.open(self._store, mode="r")
            if isinstance(node, zarr.Array):
                self._arrays: dict[str, Any] = {"": node}
            else:
                members = node.members(max_depth=_MAX_DEPTH)
                self._arrays = {name: one for name, one in members if isinstance(one, zarr.Array)}
        if not 0 < len(self._arrays) <= _MAX_ARRAYS:
            raise self._error(f"has {len(self._arrays)} arrays; 1 to {_MAX_ARRAYS} are read")

    @property
    def names(self) -> list[str]:
        """Paths of the arrays in the store; empty text for a store that is one array."""
        return list(self._arrays)

    def layout(self, name: str) -> ArrayHeader:
        """Type and shape of an array. DataFileError: it is no plain array, or its codecs or chunks are refused."""
        array = self._arrays[name]
        with self._guarded("has damaged metadata"):
            shape, dtype = tuple(map(int, array.shape)), np.dtype(array.dtype)
        where = f"{self.path}:{name}" if name else str(self.path)
        if dtype.kind not in _TYPES or dtype.itemsize > 8 or len(shape) > _MAX_RANK or not shape:
            raise DataFileError(f"{where} is no array of numbers with at most {_MAX_RANK} axes.", plain=False)
        if refused := sorted(set(_codecs(array.metadata.to_dict())) - _PLAIN_CODECS):
            what = (
                f"{where} is stored by the codecs {', '.join(refused)[:100]}, which are not read: they could run code"
            )
            raise DataFileError(f"{what}, or are no codecs of numbers.", hint=_HINT, finding="format-not-read")
        header = ArrayHeader(dtype=dtype.newbyteorder("="), shape=shape, fortran_order=False, data_offset=0)
        if (chunk := math.prod(array.chunks) * dtype.itemsize) > MAX_LOADED_BYTES:
            raise self._error(f"has chunks of {chunk} bytes; at most {MAX_LOADED_BYTES} are read")
        return header

    def check_there(self, name: str) -> None:
        """Raise DataFileError where no chunk of the array is stored, or far fewer bytes than it would have."""
        array = self._arrays[name]
        with self._guarded("cannot be read"):
            stored, chunks = int(array.nbytes_stored()), int(array.nchunks_initialized)
        size = math.prod(array.shape) * np.dtype(array.dtype).itemsize
        if size and not chunks:
            raise self._error("has metadata but not one chunk of its array: all of it would be the fill value")
        if size > max(INFLATION_CHECKED_BYTES, _MAX_INFLATION * stored):
            raise self._error(f"would unpack {stored} to {size} bytes")

    def dimensions(self, name: str) -> tuple[str, ...]:
        """Names of the array's axes, of zarr 3 or as xarray writes them; empty where it has none."""
        array = self._arrays[name]
        named = getattr(array.metadata, "dimension_names", None)
        with suppress(Exception):
            named = named or array.attrs.get("_ARRAY_DIMENSIONS")
        return tuple(str(one) for one in named) if isinstance(named, (list, tuple)) else ()

    def chunk_rows(self, name: str) -> int:
        """Length of a chunk along the first axis."""
        return int(self._arrays[name].chunks[0])

    def read(self, name: str, start: int, stop: int) -> AnyArray:
        """Elements start..stop of the first axis."""
        with self._guarded(f"has damaged chunks in {start}..{stop - 1} of the first axis"):
            array = self._arrays[name]
            return np.ascontiguousarray(array[start:stop], dtype=np.dtype(array.dtype).newbyteorder("="))

    def load(self, name: str) -> AnyArray:
        """A whole array. DataFileError above 2 GiB."""
        header = self.layout(name)
        if header.nbytes > MAX_LOADED_BYTES:
            raise self._error(f"has {header.nbytes} bytes that must be read whole; {MAX_LOADED_BYTES} are allowed")
        self.check_there(name)
        return self.read(name, 0, header.shape[0])

    def close(self) -> None:
        """Close the .zip."""
        with suppress(Exception):
            self._store.close()

    def _error(self, what: str) -> DataFileError:
        return DataFileError(f"{self.path} {what}.", hint=_HINT, path=str(self.path))

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except GazetoolsError:
            raise
        except Exception as error:  # the codecs and parsers of zarr raise what they like
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise self._error(f"{what} ({reason})") from None


_HINT = "Write it again with zarr, or store the maps with numpy: numpy.savez('VIDEO.npz', heatmap=MAPS)."


def _import_zarr() -> Any:
    try:
        import zarr
        import zarr.storage
    except ImportError as error:
        raise EnvironmentLacksError(
            f"Reading zarr needs the package zarr, version 3, which cannot be imported: {error}.",
            hint="pip install 'gazetools[zarr]' (Python 3.11 or newer)",
        ) from None
    if not hasattr(zarr.storage, "LocalStore"):
        what = f"Reading zarr needs the package zarr from version 3 on; {zarr.__version__} is installed."
        raise EnvironmentLacksError(what, hint="pip install 'gazetools[zarr]' (Python 3.11 or newer)")
    return zarr


def _codecs(metadata: Any) -> Iterator[str]:
    """Names of all codecs, compressors and filters in an array's metadata, also those inside of shards."""
    if isinstance(metadata, dict):
        for key in ("codecs", "index_codecs", "filters", "compressor"):
            found = metadata.get(key)
            for one in found if isinstance(found, (list, tuple)) else [found]:
                if one is None:
                    continue
                stated = one.to_dict() if hasattr(one, "to_dict") else one
                stated = one.get_config() if hasattr(one, "get_config") else stated
                name = stated.get("name") or stated.get("id") if isinstance(stated, dict) else type(one).__name__
                yield str(name).removeprefix("numcodecs.")
                yield from _codecs(stated.get("configuration") if isinstance(stated, dict) else None)


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if any(info.flag_bits & 1 for info in archive.infolist()):
            raise zipfile.BadZipFile("it is encrypted")
