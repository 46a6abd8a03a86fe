"""The tensors of a PyTorch file as arrays, without running anything that is in it (see `io.inert_pickle`)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazetools.io.arrays import MAX_LOADED_BYTES, AnyArray, ArrayHeader, guard
from gazetools.io.closing import Closing
from gazetools.io.npz import local_data_start
from gazetools.schemas.errors import DataFileError

if TYPE_CHECKING:
    from gazetools.io.inert_pickle import StoredTensor

_MAX_RANK, _MAX_ENTRIES, _MAX_DEPTH = 4, 256, 3
_WHAT = "file of PyTorch"
_HINT = (
    "Save a tensor, or a dict of tensors: torch.save({'heatmap': MAPS}, 'VIDEO.pt'), MAPS [T,H,W]; or "
    "numpy.savez('VIDEO.npz', heatmap=MAPS)."
)


class PtArchive(Closing):
    """A .pt file, open for reading: one tensor (named ``), or the tensors of a dict by their keys.

    Keys of dicts in dicts are joined by `.`. What is no dense tensor of at most four axes has no layout. bfloat16 is
    read as float32, which holds its numbers exactly.
    Raises DataFileError for files of before PyTorch 1.6, for pickles that name code, and for damaged files.
    """

    def __init__(self, path: Path) -> None:
        from gazetools.io.inert_pickle import RefusedPickle, read_inert

        self.path = path
        with guard(path, _WHAT):
            try:
                content = read_inert(path)
            except RefusedPickle as reason:
                raise self._refused(str(reason)) from None
        self._entries = dict(self._tensors("", content, 0))
        if not any(self._entries.values()):
            raise self._refused("it holds no tensor")

    @property
    def names(self) -> list[str]:
        """Names of all entries, those that are no tensors too."""
        return list(self._entries)

    def layout(self, name: str) -> ArrayHeader:
        """Type and shape of a tensor; `data_offset` counts from the beginning of the file where it lies in order."""
        tensor = self._tensor(name)
        return ArrayHeader(dtype=_dtype_of(tensor), shape=tensor.size, fortran_order=False, data_offset=0)

    def lies_in_order(self, name: str) -> bool:
        """Whether the numbers of a tensor lie in the file one after the other, in the type of its layout."""
        import torch

        tensor = self._tensor(name)
        wanted, count = [], 1
        for length in reversed(tensor.size):
            wanted.append(count)
            count *= length
        pairs = zip(tensor.size, tensor.stride, reversed(wanted), strict=True)
        ordered = all(length == 1 or step == right for length, step, right in pairs)
        return ordered and tensor.dtype != torch.bfloat16 and 0 < count <= tensor.numel - tensor.offset

    def element_offset(self, name: str) -> int:
        """Offset in the file of the first element of a tensor that lies in order."""
        tensor = self._tensor(name)
        with guard(self.path, _WHAT), zipfile.ZipFile(self.path) as archive, self.path.open("rb") as file:
            info = archive.getinfo(tensor.member)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != tensor.numel * tensor.dtype.itemsize:
                raise zipfile.BadZipFile(f"its part {tensor.member} is compressed or has another size than stated")
            start = local_data_start(file, info, archive.start_dir)
        return start + tensor.offset * tensor.dtype.itemsize

    def load(self, name: str) -> AnyArray:
        """A tensor read whole, its checksum compared. DataFileError above 2 GiB."""
        from gazetools.io.inert_pickle import RefusedPickle

        tensor = self._tensor(name)
        if tensor.numel * tensor.dtype.itemsize > MAX_LOADED_BYTES:
            raise DataFileError(
                f"{self.path}:{name} has {tensor.numel * tensor.dtype.itemsize} bytes that must be read whole; at most "
                f"{MAX_LOADED_BYTES} are allowed.",
                hint="Save it contiguous, in float32 or float16, so that maps can be read one by one.",
            )
        with guard(self.path, _WHAT):
            try:
                numbers = tensor.read()
            except RefusedPickle as reason:
                raise self._refused(str(reason)) from None
        return np.ascontiguousarray(numbers.float().numpy() if _is_bfloat16(tensor) else numbers.numpy())

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _tensors(self, name: str, value: Any, depth: int) -> Iterator[tuple[str, StoredTensor | None]]:
        from gazetools.io.inert_pickle import StoredTensor

        if isinstance(value, StoredTensor):
            yield name, value
        elif isinstance(value, Mapping) and depth < _MAX_DEPTH:
            if len(value) > _MAX_ENTRIES:
                raise self._refused(f"it has {len(value)} entries; of heatmaps at most {_MAX_ENTRIES} are read")
            for key, one in value.items():
                inner = f"{name}.{key}" if name else str(key)
                yield from self._tensors(inner[:200], one, depth + 1)
        elif name:
            yield name, None
        elif not isinstance(value, Mapping):
            raise self._refused(f"it holds a {type(value).__name__}, neither a tensor nor a dict of tensors")

    def _tensor(self, name: str) -> StoredTensor:
        if name not in self._entries:
            raise DataFileError(f"{self.path} has no entry {name!r}.", path=str(self.path))
        tensor = self._entries[name]
        if tensor is None or len(tensor.size) > _MAX_RANK:
            raise DataFileError(f"{self.path}:{name} is no tensor of at most {_MAX_RANK} axes.", plain=False)
        return tensor

    def _refused(self, reason: str) -> DataFileError:
        what = f"{self.path}, a file of PyTorch, is not read: {reason}."
        return DataFileError(what, hint=_HINT, path=str(self.path), finding="format-not-read")


def _is_bfloat16(tensor: StoredTensor) -> bool:
    return str(tensor.dtype) == "torch.bfloat16"


def _dtype_of(tensor: StoredTensor) -> np.dtype[Any]:
    return np.dtype(np.float32 if _is_bfloat16(tensor) else str(tensor.dtype).removeprefix("torch."))
