"""HeatmapReader: maps of one video as float32, in any layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.values import resize, scale_of, to_float32
from gazetools.io.closing import Closing
from gazetools.layouts.base import SideMembers, StoredMaps, load_side
from gazetools.layouts.locate import Location, locate, raw_manifest
from gazetools.sampling import nearest_indices
from gazetools.schemas.dataset import MANIFEST_NAME
from gazetools.schemas.errors import DataFileError, FrameRangeError
from gazetools.schemas.foreign import ArrayChoice

MissingPolicy = Literal["error", "zero"]


class HeatmapReader(Closing):
    """Maps of one video in a dataset, read by frame index or by time.

    Reads every layout of gazetools and, without a manifest, heatmaps of other tools: `<id>.npz` with the maps under
    any key, `<id>.npy`, `<id>/gaze.npy`, or a folder of numbered .npy files. Which array is read, and in which order of
    axes, is decided by the rule in `gazetools.layouts.choosing`. Nothing is unpickled. A compressed .npz is unpacked
    once and kept (at most 2 GiB). Readers can be pickled and used in workers: each process opens the files for itself.

    Args:
        dataset_path: folder with the heatmaps (and `manifest.json` where gazetools packed them).
        missing: what to do where the video, or a numbered frame of a folder, is not there: `error` raises
            DataFileError, `zero` returns zero maps (`valid` False). A *broken* file is an error in both.
        size: (H, W) of the zero maps of a missing video in a folder without a manifest.
        resized: return maps packed with `--size video --resize-on-load` at the video's size; False: as stored.
        choice: array, axes and first number of another tool's heatmaps, where the rule leaves them open.

    Raises DataFileError for no such heatmaps, or files that are damaged, hostile or of another format.

    >>> maps = HeatmapReader("DATASET", "take/cam01")          # doctest: +SKIP
    >>> maps.read([3, 7, 9]).shape                             # doctest: +SKIP
    (3, 64, 64)
    """

    shape: tuple[int, int, int]
    """(T, H, W); T is 0 for a missing video."""
    valid: npt.NDArray[np.bool_]
    """bool [T]: the map was computed from this very frame (False: no map, or filled in from other frames)."""
    inout: npt.NDArray[np.float32] | None
    """float32 [T] probability that the gaze target is in the frame, NaN where unknown; None in files without it."""
    pts_seconds: npt.NDArray[np.float64] | None
    """float64 [T] time of each row in its video; None in files without it."""
    is_missing: bool
    """True where the dataset has no maps of this video and `missing` is `zero`."""

    def __init__(
        self,
        dataset_path: str | Path,
        video_id: str,
        *,
        missing: MissingPolicy = "error",
        size: tuple[int, int] | None = None,
        resized: bool = True,
        choice: ArrayChoice | None = None,
    ) -> None:
        if missing not in ("error", "zero"):
            raise DataFileError(f"missing = {missing!r} is not a policy; use 'error' or 'zero'.")
        self.dataset_path = Path(dataset_path)
        self.video_id = video_id
        self._missing = missing
        self._source: StoredMaps | None = None
        self._process = -1
        self._scale = 1.0
        self._location = location = locate(self.dataset_path, video_id, choice)
        self.is_missing = location is None
        if location is None:
            self._become_missing(size, resized=resized)
            return
        with location.layout.members(location.path, required=location.entry is not None) as members:
            self._open_first(location, members, resized=resized)

    def _open_first(self, location: Location, members: SideMembers | None, *, resized: bool) -> None:
        """Open the maps and read the members next to them, both from one opening of the file."""
        source, entry, path = self._opened(members), location.entry, location.path
        self.shape = self._stored_shape = source.shape
        if entry is None:
            self._scale = scale_of(source.dtype, path)
        else:
            shape, dtype = (entry.t, entry.h, entry.w), np.dtype(entry.dtype)
            if (source.shape, source.dtype) != (shape, dtype):
                raise DataFileError(
                    f"{path} holds {source.dtype} {list(source.shape)}, its manifest says {dtype} {list(shape)}.",
                    hint="Run gazetools validate on the dataset and pack this video again.",
                    path=str(path),
                )
            self._scale = entry.scale
            if resized and entry.target_size is not None:
                self.shape = (source.shape[0], *entry.target_size)
        valid, self.inout, self.pts_seconds = (
            load_side(members, name, self.shape[0], strict=entry is not None, where=path)
            for name in ("valid", "inout", "pts_seconds")
        )
        present = source.present()
        self.valid = np.ones(self.shape[0], dtype=np.bool_) if valid is None else valid
        if present is not None:
            self.valid = self.valid & present

    def __len__(self) -> int:
        """T, the number of rows."""
        return self.shape[0]

    def __repr__(self) -> str:
        return f"HeatmapReader({str(self.dataset_path)!r}, {self.video_id!r}, shape={self.shape})"

    def __getstate__(self) -> dict[str, Any]:
        # an open file belongs to its process; the copy opens its own at its first read
        return {**self.__dict__, "_source": None, "_process": -1}

    def close(self) -> None:
        """Close files; a later read opens them again."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def read(self, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Maps [n, H, W] of `indices` in their order; FrameRangeError outside 0..T-1, DataFileError for bad files."""
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise FrameRangeError(f"indices must be a list of integers, got {indices!r:.80}.")
        wanted = wanted.astype(np.int64, copy=False)
        if self.is_missing:
            return np.zeros((len(wanted), *self.shape[1:]), dtype=np.float32)
        if wanted.size and (int(wanted.min()) < 0 or int(wanted.max()) >= self.shape[0]):
            outside = wanted[(wanted < 0) | (wanted >= self.shape[0])]
            raise FrameRangeError(
                f"Heatmaps {outside[:5].tolist()} of {self.video_id!r} were asked for, but it has rows 0 to "
                f"{self.shape[0] - 1}.",
                hint="Check that video and heatmaps belong together: gazetools validate --videos ROOT.",
            )
        source = self._opened()
        if self._missing == "zero" and (present := source.present()) is not None:
            maps = np.zeros((len(wanted), *self._stored_shape[1:]), dtype=np.float32)
            there = present[wanted]
            maps[there] = to_float32(source.read(wanted[there]), self._scale)
        else:
            maps = to_float32(source.read(wanted), self._scale)
        return maps if self.shape == self._stored_shape else resize(maps, self.shape[1:])

    def read_seconds(
        self, times: Sequence[float] | npt.NDArray[np.floating[Any]], *, tolerance_seconds: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Maps [n, H, W] of the rows whose pts is nearest to each time; of two equally near the earlier.

        Raises FrameRangeError more than `tolerance_seconds` (default: one mean row period) outside the rows, and
        DataFileError where the rows have no usable times.
        """
        wanted = np.asarray(times, dtype=np.float64)
        if wanted.ndim != 1 or not np.isfinite(wanted).all():
            raise FrameRangeError(f"times must be a list of finite seconds, got {times!r:.80}.")
        if self.is_missing:
            return np.zeros((len(wanted), *self.shape[1:]), dtype=np.float32)
        pts = np.zeros(0) if self.pts_seconds is None else self.pts_seconds
        known = np.flatnonzero(np.isfinite(pts))
        if not len(known):
            raise DataFileError(
                f"The heatmaps of {self.video_id!r} have no times.", hint="Read by index, or pack them with gazetools."
            )
        known_pts = pts[known]
        if (np.diff(known_pts) < 0).any():
            raise DataFileError(f"The times of {self.video_id!r} are not ascending.", hint="Run gazetools validate.")
        span = float(known_pts[-1] - known_pts[0])
        tolerance = tolerance_seconds if tolerance_seconds is not None else span / max(len(known) - 1, 1)
        outside = wanted[(wanted < known_pts[0] - tolerance) | (wanted > known_pts[-1] + tolerance)]
        if len(outside):
            raise FrameRangeError(
                f"Times {outside[:5].tolist()} s are outside the rows of {self.video_id!r}, which cover "
                f"{known_pts[0]:.3f} to {known_pts[-1]:.3f} s (tolerance {tolerance:.3f} s)."
            )
        return self.read(known[nearest_indices(known_pts, wanted)])

    def _opened(self, members: SideMembers | None = None) -> StoredMaps:
        if self._source is None or self._process != os.getpid():
            assert self._location is not None, "a missing video has no source"
            self._source = self._location.layout.open(self._location.path, members)
            self._process = os.getpid()
            if getattr(self, "_stored_shape", self._source.shape) != self._source.shape:
                raise DataFileError(f"{self._location.path} has another shape than before.", hint="Open it again.")
        return self._source

    def _become_missing(self, size: tuple[int, int] | None, *, resized: bool) -> None:
        if self._missing == "error":
            folder = self.dataset_path / self.video_id
            inside = sorted(path.stem for path in folder.glob("*.np[yz]")) if folder.is_dir() else []
            near = f" It has the folder {self.video_id} with {inside[0]!r}, whose id is that path." if inside else ""
            raise DataFileError(
                f"{self.dataset_path} has no heatmaps of the video {self.video_id!r}.{near}",
                hint="Check the id, pack the video, or read with missing='zero'.",
                video_id=self.video_id,
            )
        sizes = {size} if size else _sizes_in_manifest(self.dataset_path, resized=resized)
        if len(sizes) != 1:
            raise DataFileError(
                f"{self.dataset_path} has no heatmaps of {self.video_id!r}, and the size of its zero maps is unknown.",
                hint="Pass size=(H, W).",
            )
        self.shape = (0, *sizes.pop())
        self.valid = np.zeros(0, dtype=np.bool_)
        self.inout = self.pts_seconds = None


def _sizes_in_manifest(dataset: Path, *, resized: bool) -> set[tuple[int, int]]:
    if not (dataset / MANIFEST_NAME).exists():
        return set()
    entries = [e for e in raw_manifest(dataset)["videos"].values() if isinstance(e, dict) and {"H", "W"} <= e.keys()]
    return {tuple((resized and entry.get("target_size")) or (entry["H"], entry["W"])) for entry in entries}
