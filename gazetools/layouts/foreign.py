"""Layouts of other tools' heatmaps, which are only read; `choosing` decides which array and which order of axes."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gazetools.io.arrays import AnyArray, ArrayHeader, load_npy, npy_layout
from gazetools.io.npz import Npz
from gazetools.layouts.axes import AxisOrder
from gazetools.layouts.base import FileMaps, Layout, MemoryMaps, SideMembers, StoredMaps
from gazetools.layouts.choosing import Chosen, choose_array, frame_order
from gazetools.layouts.npy import NpyFolder, frames_of_other_formats, numbered_frames
from gazetools.layouts.npz import NpzLayout
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.foreign import ArrayChoice

_SECONDS = re.compile(r"\d\.\d+\.npy$")


class ForeignLayout(Layout):
    """A file or folder of another tool's heatmaps, read as `choice` and the one rule say."""

    choice: ArrayChoice

    @abstractmethod
    def reading(self, path: Path, members: SideMembers | None = None) -> dict[str, Any]:
        """What of the file is read, for the provenance: array and axes, or the number of the first frame."""

    def others(self, members: SideMembers) -> dict[str, ArrayHeader | None]:
        """The arrays in the file that are not the heatmaps; None for what is no plain array of numbers."""
        return {}


class ForeignArchive(ForeignLayout):
    """A file or folder with several named arrays of another tool, one of which holds the heatmaps."""

    @abstractmethod
    def archive(self, path: Path) -> SideMembers:
        """The arrays at `path`, for the caller to close. Raises DataFileError."""

    @abstractmethod
    def maps(self, path: Path, archive: SideMembers, chosen: Chosen) -> StoredMaps:
        """The maps in the open `archive`, which may be closed afterwards unless `open` is replaced."""

    def open_members(self, path: Path, *, required: bool) -> SideMembers:
        return self.archive(path)

    def header(self, path: Path, members: SideMembers | None = None) -> tuple[ArrayHeader, str]:
        """Type and shape (T, H, W) of the chosen array."""
        with self._opened(path, members) as archive:
            chosen = self.chosen(path, archive)
        return chosen.as_thw, f"{path}:{chosen.name}" if chosen.name else str(path)

    def open(self, path: Path, members: SideMembers | None = None) -> StoredMaps:
        """Arrays that do not lie in order are read whole."""
        with self._opened(path, members) as archive:
            return self.maps(path, archive, self.chosen(path, archive))

    def reading(self, path: Path, members: SideMembers | None = None) -> dict[str, Any]:
        with self._opened(path, members) as archive:
            chosen = self.chosen(path, archive)
        return ({"array": chosen.name} if chosen.name else {}) | {"axes": chosen.order.letters}

    def others(self, members: SideMembers) -> dict[str, ArrayHeader | None]:
        arrays = _arrays_in(members)
        del arrays[choose_array(arrays, self.choice, "").name]
        return arrays

    def chosen(self, path: Path, members: SideMembers) -> Chosen:
        """The array that holds the heatmaps. Raises DataFileError where the one rule does not say."""
        arrays, choice = _arrays_in(members), self.choice
        if list(arrays) == [""]:  # a file that is one array has no names
            choice = choice.model_copy(update={"key": None})
        return choose_array(arrays, choice, str(path))

    @contextmanager
    def _opened(self, path: Path, members: SideMembers | None) -> Iterator[SideMembers]:
        """`members`, or the arrays at `path` until the block is left."""
        if members is not None:
            yield members
            return
        archive = self.archive(path)
        try:
            yield archive
        finally:
            archive.close()


class ForeignNpz(ForeignArchive):
    """`<id>.npz` of another tool."""

    suffix = ".npz"

    def __init__(self, choice: ArrayChoice) -> None:
        self.choice = choice

    def archive(self, path: Path) -> Npz:
        return Npz(path)

    def maps(self, path: Path, archive: SideMembers, chosen: Chosen) -> StoredMaps:
        """Arrays that are compressed, in Fortran order or with other axes first are read whole."""
        assert isinstance(archive, Npz)
        if archive.is_stored(chosen.name) and _lies_in_order(chosen):
            return FileMaps(path, chosen.as_thw, archive.element_offset(chosen.name))
        return MemoryMaps(chosen.order.arranged(archive.load(chosen.name)), where=f"{path}:{chosen.name}")

    def blocks(self, path: Path, rows: int, members: SideMembers | None = None) -> Iterator[AnyArray]:
        """Compares the CRC at the end."""
        with Npz(path) as archive:
            chosen = self.chosen(path, archive)
            if _lies_in_order(chosen) and chosen.order.letters.startswith("T"):
                for block in archive.iter_blocks(chosen.name, rows):
                    yield chosen.order.arranged(block)
                return
            whole = chosen.order.arranged(archive.load(chosen.name))
        yield from (whole[start : start + rows] for start in range(0, len(whole), rows))

    def readme(self, file: str) -> str:
        return NpzLayout().readme(file)


class ForeignNpy(ForeignLayout):
    """`<id>.npy` of another tool: one array, without members."""

    suffix = ".npy"

    def __init__(self, choice: ArrayChoice) -> None:
        # an .npy has no names, so that `key` is about the .npz files of the same folder
        self.choice = choice.model_copy(update={"key": None})

    def open_members(self, path: Path, *, required: bool) -> None:
        """There are none."""

    def header(self, path: Path, members: SideMembers | None = None) -> tuple[ArrayHeader, str]:
        """Type and shape (T, H, W) of the array."""
        return self._chosen(path).as_thw, str(path)

    def open(self, path: Path, members: SideMembers | None = None) -> StoredMaps:
        """Arrays in Fortran order or with other axes first are read whole."""
        chosen = self._chosen(path)
        if _lies_in_order(chosen):
            return FileMaps(path, chosen.as_thw, chosen.header.data_offset)
        return MemoryMaps(chosen.order.arranged(load_npy(path)), where=str(path))

    def reading(self, path: Path, members: SideMembers | None = None) -> dict[str, Any]:
        return {"axes": self._chosen(path).order.letters}

    def readme(self, file: str) -> str:
        return f"Or with numpy alone: `numpy.load({file!r})`."

    def _chosen(self, path: Path) -> Chosen:
        return choose_array({"": npy_layout(path)}, self.choice, str(path))


class ForeignFrames(ForeignLayout, NpyFolder):
    """A folder of numbered .npy files of another tool, one map each."""

    def __init__(self, choice: ArrayChoice) -> None:
        self.choice = choice

    def frames(self, path: Path) -> dict[int, str]:
        """Frame index -> file name. Numbers count from `first_frame`; without it only numbers from 0 on are clear."""
        try:
            numbered = numbered_frames(path)
        except DataFileError as error:
            raise DataFileError(
                f"{error.message} The last number in a name is the frame's.",
                hint="Rename them to frame_000000.npy and so on; keep a folder for each person, and one size.",
                finding="maps-ambiguous",
            ) from None
        lost = {number: name for number, name in frames_of_other_formats(path).items() if number not in numbered}
        if lost:
            raise DataFileError(
                f"{path} has {len(lost)} frames in files such as {lost[min(lost)]}, and {len(numbered)} in numbered "
                ".npy; frames are read from .npy alone.",
                hint="Store each map with numpy.save, or all as one array: numpy.savez('VIDEO.npz', heatmap=MAPS).",
                finding="format-not-read",
            )
        if not numbered:
            return {}
        if seconds := [name for name in numbered.values() if _SECONDS.search(name)]:
            raise DataFileError(
                f"{path} has {len(seconds)} names such as {seconds[0]}: times in seconds are no frame numbers.",
                hint="Rename them to frame_000000.npy and so on, by the index of each frame.",
                finding="maps-ambiguous",
            )
        lowest, highest, begin = min(numbered), max(numbered), self.choice.first_frame
        if begin is None and lowest > 0:
            raise DataFileError(
                f"{path} has {len(numbered)} frames numbered from {lowest} to {highest}: is {numbered[lowest]} the "
                f"video's first frame (--first-frame {lowest}), or its frame with index {lowest} (--first-frame 0)?",
                hint="Say which number the first frame has (in a training config experiment.data.heatmap_first_frame).",
                finding="frame-file-missing",
                frames=list(range(min(lowest, 100))),
            )
        begin = begin or 0
        if lowest < begin:
            raise DataFileError(
                f"{path} holds {numbered[lowest]}, whose number is below that of the first frame, {begin}.",
                hint="Correct --first-frame (in a training config: experiment.data.heatmap_first_frame).",
                finding="frame-file-missing",
            )
        return {number - begin: name for number, name in numbered.items()}

    def order_of(self, shape: tuple[int, ...], where: str) -> AxisOrder:
        return frame_order(shape, self.choice, where)

    def reading(self, path: Path, members: SideMembers | None = None) -> dict[str, Any]:
        self.frames(path)
        return {"first_frame": self.choice.first_frame or 0, "axes": self.choice.axes or "HW"}


class UnreadFormat(ForeignLayout):
    """A format that may hold heatmaps and is not read: every command names it instead of missing the video."""

    def __init__(self, suffix: str, why: str) -> None:
        self.suffix, self._why = suffix, why

    def open_members(self, path: Path, *, required: bool) -> None:
        raise self._refusal(path)

    def header(self, path: Path, members: SideMembers | None = None) -> tuple[ArrayHeader, str]:
        raise self._refusal(path)

    def reading(self, path: Path, members: SideMembers | None = None) -> dict[str, Any]:
        raise self._refusal(path)

    def readme(self, file: str) -> str:
        raise self._refusal(Path(file))

    def _refusal(self, path: Path) -> DataFileError:
        return DataFileError(
            f"{path} is {self._why}, which is not read.",
            hint="Store the maps with numpy: numpy.savez('VIDEO.npz', heatmap=MAPS), MAPS [T,H,W] in 0..1.",
            finding="format-not-read",
        )


_PICKLED = "a file of pickled objects, which could run code"
UNREAD_FORMATS = {
    ".pkl": _PICKLED,
    ".pickle": _PICKLED,
    ".mat": "a MATLAB file",
}
"""Suffix -> what such a file is."""
WITHOUT_MAPS = "PyTorch's, and nothing in it can be heatmaps"
"""What a .pt file next to other heatmaps is."""


def _lies_in_order(chosen: Chosen) -> bool:
    """Whether the maps can be read one by one."""
    return chosen.order.in_order and not chosen.header.fortran_order


def _arrays_in(members: SideMembers) -> dict[str, ArrayHeader | None]:
    """The header of each array by name, None for objects and texts. What is damaged is an error: it may be the maps."""
    arrays: dict[str, ArrayHeader | None] = {}
    for name in members.names:
        if name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith("._"):
            continue  # what macOS adds to archives
        try:
            arrays[name] = members.layout(name)
        except DataFileError as error:
            if error.details.get("plain", True) or len(members.names) == 1:
                raise
            arrays[name] = None
    return arrays
