"""Layouts of other tools' heatmaps in PyTorch's and zarr's files, which are only read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gazetools.io.arrays import AnyArray
from gazetools.io.atomic import sha256_of_file
from gazetools.io.pt_archive import PtArchive
from gazetools.io.zarr_store import ZarrStore
from gazetools.layouts.base import FileMaps, Indices, MemoryMaps, SideMembers, StoredMaps
from gazetools.layouts.choosing import Chosen
from gazetools.layouts.foreign import ForeignArchive
from gazetools.layouts.npy import sha256_of_listing
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.foreign import ArrayChoice

_WORDS = {
    "T": ("t", "time", "frame", "frames"),
    "H": ("h", "y", "height", "row", "rows"),
    "W": ("w", "x", "width", "col", "cols", "column", "columns"),
}
"""Names of axes that say which they are."""


class ForeignPt(ForeignArchive):
    """`<id>.pt` or `.pth` of another tool: a tensor, or a dict of tensors."""

    def __init__(self, choice: ArrayChoice, suffix: str = ".pt") -> None:
        self.choice, self.suffix = choice, suffix

    def archive(self, path: Path) -> PtArchive:
        return PtArchive(path)

    def maps(self, path: Path, archive: SideMembers, chosen: Chosen) -> StoredMaps:
        """Tensors that are contiguous are read by position, others whole."""
        assert isinstance(archive, PtArchive)
        if chosen.order.in_order and archive.lies_in_order(chosen.name):
            return FileMaps(path, chosen.as_thw, archive.element_offset(chosen.name))
        return MemoryMaps(chosen.order.arranged(archive.load(chosen.name)), where=f"{path}:{chosen.name}")

    def readme(self, file: str) -> str:
        return f"Or with PyTorch alone: `torch.load({file!r}, weights_only=True)`."


class ForeignZarr(ForeignArchive):
    """`<id>.zarr` or `<id>.zarr.zip` of another tool: an array, or a group of arrays, read by chunks."""

    def __init__(self, choice: ArrayChoice, suffix: str = ".zarr") -> None:
        self.choice, self.suffix = choice, suffix

    def archive(self, path: Path) -> ZarrStore:
        return ZarrStore(path)

    def open(self, path: Path, members: SideMembers | None = None) -> StoredMaps:
        """The maps keep the store open; `members` is the caller's."""
        archive = self.archive(path)
        try:
            return self.maps(path, archive, self.chosen(path, archive))
        except BaseException:
            archive.close()
            raise

    def maps(self, path: Path, archive: SideMembers, chosen: Chosen) -> StoredMaps:
        """Maps whose frames come first are read by chunks, others whole."""
        assert isinstance(archive, ZarrStore)
        if chosen.order.letters.startswith("T") and chosen.order.in_order:
            archive.check_there(chosen.name)
            return ZarrMaps(archive, chosen)
        whole = chosen.order.arranged(archive.load(chosen.name))
        archive.close()
        return MemoryMaps(whole, where=f"{path}:{chosen.name}")

    def chosen(self, path: Path, members: SideMembers) -> Chosen:
        """As the one rule says; DataFileError where the names of the axes say another order."""
        found = super().chosen(path, members)
        assert isinstance(members, ZarrStore)
        named = members.dimensions(found.name)
        letters = [next((c for c, words in _WORDS.items() if name.lower() in words), "?") for name in named]
        stated = [letter for letter in letters if letter != "?"]
        ours = [letter for letter in found.order.letters if letter != "1"]
        if self.choice.axes is None and stated and stated != [letter for letter in ours if letter in stated]:
            raise DataFileError(
                f"{path}:{found.name} has shape {list(found.header.shape)} and names its axes {', '.join(named)}; that "
                f"is not {found.order}.",
                hint="Say the order with --axes ORDER (in a training config experiment.data.heatmap_axes).",
                finding="maps-ambiguous",
            )
        return found

    def sha256(self, path: Path) -> str:
        """That of the .zip, or of the sorted lines `name sha256` of all files of the folder."""
        if path.is_file():
            return sha256_of_file(path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return sha256_of_listing((file.relative_to(path).as_posix(), sha256_of_file(file)) for file in files)

    def bytes_at(self, path: Path) -> int | None:
        if path.is_file():
            return path.stat().st_size
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else None

    def readme(self, file: str) -> str:
        return f"Or with zarr alone: `zarr.open({file!r}, mode='r')`."


class ZarrMaps(StoredMaps):
    """Maps in the chunks of a zarr array; the chunks read last are kept, since clips read neighbours."""

    def __init__(self, archive: ZarrStore, chosen: Chosen) -> None:
        header = chosen.as_thw
        self.shape = (header.shape[0], header.shape[1], header.shape[2])
        self.dtype = header.dtype
        self._archive, self._chosen = archive, chosen
        self._rows = archive.chunk_rows(chosen.name)
        self._kept: tuple[int, AnyArray] | None = None
        """Number of the chunk read last, and its maps."""

    def read(self, indices: Indices) -> AnyArray:
        maps = np.empty((len(indices), *self.shape[1:]), self.dtype)
        numbers = indices // self._rows
        for number in np.unique(numbers).tolist():
            wanted = numbers == number
            maps[wanted] = self._chunk(number)[indices[wanted] - number * self._rows]
        return maps

    def blocks(self, rows: int) -> Iterator[AnyArray]:
        """Whole chunks at a time, cut to at most `rows`."""
        for start in range(0, self.shape[0], self._rows):
            chunk = self._chunk(start // self._rows)
            yield from (chunk[first : first + rows] for first in range(0, len(chunk), rows))

    def close(self) -> None:
        self._archive.close()

    def _chunk(self, number: int) -> AnyArray:
        if self._kept is None or self._kept[0] != number:
            first = number * self._rows
            part = self._archive.read(self._chosen.name, first, min(first + self._rows, self.shape[0]))
            order = self._chosen.order
            self._kept = number, order.arranged(part)
        return self._kept[1]
