"""The layout `hdf5`: one contiguous dataset per member, read by position like the members of an .npz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazetools.io.arrays import AnyArray, ArrayHeader
from gazetools.io.atomic import atomic_path, sha256_while_synced
from gazetools.io.parallel import ahead
from gazetools.io.raw_file import ErrorHidingFile
from gazetools.layouts.base import MEMBER_TYPES, DatasetLayout, SideMembers
from gazetools.layouts.stream import MapStream, Written
from gazetools.schemas.dataset import HEATMAP_MEMBER
from gazetools.schemas.errors import DataFileError

if TYPE_CHECKING:
    import h5py


class Hdf5Layout(DatasetLayout):
    """`<video_id>.h5` with the dataset `heatmap` and one per member, uncompressed and contiguous."""

    suffix = ".h5"
    keeps_order = False

    def write(self, path: Path, stream: MapStream) -> Written:
        """HDF5 only lays out the file; the numbers are written at their offsets, since a full disk would crash HDF5."""
        members = {name: (stream.shape[:1], MEMBER_TYPES[name]) for name in stream.member_names}
        with atomic_path(path) as temp:
            offsets = _lay_out(temp, {HEATMAP_MEMBER: (stream.shape, stream.dtype), **members})
            with temp.open("r+b") as file:
                file.seek(offsets[HEATMAP_MEMBER])
                for block in ahead(stream.blocks):
                    file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
                for name, array in stream.members().items():
                    file.seek(offsets[name])
                    file.write(np.ascontiguousarray(array, dtype=MEMBER_TYPES[name]).tobytes())
            return Written(sha256=sha256_while_synced(temp), bytes=temp.stat().st_size)

    def open_members(self, path: Path, *, required: bool) -> Hdf5Members:
        return Hdf5Members(path)

    def header(self, path: Path, members: SideMembers | None = None) -> tuple[ArrayHeader, str]:
        return (members or Hdf5Members(path)).layout(HEATMAP_MEMBER), f"{path}:{HEATMAP_MEMBER}"

    def readme(self, file: str) -> str:
        return f"Or with h5py alone: `h5py.File({file!r})['heatmap']`, `[T,H,W]`."


class Hdf5Members:
    """Members of a packed .h5, contiguous: links and other kinds of storage could read other files or load plugins."""

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = path
        try:
            size = path.stat().st_size
            with h5py.File(path, "r") as file:
                self._headers = {name: self._check(file, name, size) for name in sorted(file)}
        except DataFileError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataFileError(
                f"{path} is not a readable HDF5 file ({reason}).", hint="Copy or make it again.", path=str(path)
            ) from None

    @property
    def names(self) -> list[str]:
        return list(self._headers)

    def layout(self, name: str) -> ArrayHeader:
        if name not in self._headers:
            raise DataFileError(f"{self.path} has no member {name!r}; it has {self.names}.", path=str(self.path))
        return self._headers[name]

    def load(self, name: str) -> AnyArray:
        header = self.layout(name)
        with self.path.open("rb") as file:
            file.seek(header.data_offset)
            data = file.read(header.nbytes)
        if len(data) != header.nbytes:
            raise DataFileError(f"{self.path} ends inside {name!r}.", hint="Copy or make it again.")
        return np.frombuffer(bytearray(data), header.dtype).reshape(header.shape)

    def close(self) -> None:
        """Do nothing, since no file stays open."""

    def _check(self, file: h5py.File, name: str, size: int) -> ArrayHeader:
        import h5py

        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise DataFileError(f"{self.path}: {name} is a link to elsewhere, which is refused.")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise DataFileError(f"{self.path}: {name} is not a dataset.")
        if dataset.is_virtual or dataset.external or dataset.chunks is not None:
            raise DataFileError(f"{self.path}: {name} is not stored in one piece in this file, which is refused.")
        dtype, shape = dataset.dtype, dataset.shape
        if dtype.kind not in "fiub" or len(shape) not in (1, 2, 3):
            raise DataFileError(f"{self.path}: {name} is {dtype} of shape {shape}; arrays of numbers are needed.")
        header = ArrayHeader(
            dtype=dtype, shape=tuple(shape), fortran_order=False, data_offset=dataset.id.get_offset() or 0
        )
        if header.nbytes and (not header.data_offset or header.data_offset + header.nbytes > size):
            raise DataFileError(f"{self.path}: {name} claims {header.nbytes} bytes that are not stored.")
        return header


def _lay_out(path: Path, wanted: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> dict[str, int]:
    """Make a file of datasets whose numbers are not written; the offset of each dataset's first number."""
    import h5py

    offsets = {}
    outline = ErrorHidingFile(path)
    with outline, h5py.File(outline, "w", libver=("v110", "v110")) as file:
        for name, (shape, dtype) in wanted.items():
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_layout(h5py.h5d.CONTIGUOUS)
            # space at once and no fill values: HDF5 never touches the numbers
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            properties.set_obj_track_times(False)
            kind = h5py.h5t.py_create(dtype, logical=True)
            dataset = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), dcpl=properties)
            offsets[name] = dataset.get_offset() or 0
    outline.raise_error()
    return offsets
