"""Guarded look into an .h5 that gazetools packed: which contiguous bytes of the file hold a member."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from gazetools.io.arrays import AnyArray, ArrayHeader
from gazetools.schemas.errors import DataFileError

MAX_RANK = 3


class Hdf5Members:
    """Members of a packed .h5, read by position like those of an .npz.

    Raises DataFileError for: not HDF5, links, virtual or external or chunked storage (other files could be read, and
    filters would load plugins), and sizes that the file does not have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with h5py.File(path, "r") as file:
                names = sorted(file)
                self._layouts = {name: self._check(file, name, size) for name in names}
        except DataFileError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataFileError(
                f"{path} is not a readable HDF5 file ({reason}).", hint="Copy or make it again.", path=str(path)
            ) from None

    @property
    def names(self) -> list[str]:
        """Names of the members."""
        return list(self._layouts)

    def layout(self, name: str) -> ArrayHeader:
        """Type, shape and place in the file."""
        try:
            return self._layouts[name]
        except KeyError:
            raise DataFileError(
                f"{self.path} has no member {name!r}; it has {self.names}.", path=str(self.path)
            ) from None

    def load(self, name: str) -> AnyArray:
        """A member as an array."""
        layout = self.layout(name)
        with self.path.open("rb") as file:
            file.seek(layout.data_offset)
            data = file.read(layout.nbytes)
        if len(data) != layout.nbytes:
            raise DataFileError(f"{self.path} ends inside {name!r}.", hint="Copy or make it again.")
        return np.frombuffer(bytearray(data), layout.dtype).reshape(layout.shape)

    def _check(self, file: h5py.File, name: str, size: int) -> ArrayHeader:
        link = file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise DataFileError(f"{self.path}: {name} is a link to elsewhere, which is refused.")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise DataFileError(f"{self.path}: {name} is not a dataset.")
        if dataset.is_virtual or dataset.external or dataset.chunks is not None:
            raise DataFileError(f"{self.path}: {name} is not stored in one piece in this file, which is refused.")
        dtype, shape = dataset.dtype, dataset.shape
        if dtype.kind not in "fiub" or not 1 <= len(shape) <= MAX_RANK:
            raise DataFileError(f"{self.path}: {name} is {dtype} of shape {shape}; arrays of numbers are needed.")
        layout = ArrayHeader(
            dtype=dtype, shape=tuple(shape), fortran_order=False, data_offset=dataset.id.get_offset() or 0
        )
        if layout.nbytes and (not layout.data_offset or layout.data_offset + layout.nbytes > size):
            raise DataFileError(f"{self.path}: {name} claims {layout.nbytes} bytes that are not stored.")
        return layout
