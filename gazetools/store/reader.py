"""Read a store file after proving that it is one: no links, no foreign storage, the right types and shapes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from gazetools.io.atomic import sha256_of_file
from gazetools.io.closing import Closing
from gazetools.schemas.errors import DataFileError, FrameRangeError
from gazetools.schemas.provenance import MAX_PROVENANCE_BYTES, Provenance
from gazetools.schemas.store import EXTRA_GROUP, SIDECAR_SUFFIX, Prompt, Rows
from gazetools.store.chunks import ChunkedRows
from gazetools.store.columns import COLUMNS, ROWS, TRACKS, tokens_column
from gazetools.store.listing import read_sidecar

# HDF5 filter numbers: deflate 1, shuffle 2, fletcher32 3. Others would make HDF5 load plugins.
_ALLOWED_FILTERS = {1, 2, 3}
_TOKENS = tokens_column((0, 0, 0)).dataset
_MAX_EXPANSION = 2000
"""Largest ratio of a dataset's logical size to its stored bytes; more is a decompression bomb."""


@dataclass(frozen=True, kw_only=True)
class StoreFrames:
    """The processed frames of one video, those without people too."""

    index: npt.NDArray[np.int64]
    """[F] index among the decoded frames, ascending; `pts_seconds` likewise."""
    pts_seconds: npt.NDArray[np.float64]
    fingerprint: npt.NDArray[np.uint8]
    """[S, 32, 32] grey thumbnails of sampled frames, whose indices are `fingerprint_index` [S]."""
    fingerprint_index: npt.NDArray[np.int64]


class StoreReader(Closing):
    """One store file, opened by `open_store`; small columns are loaded at once, heatmaps are read when asked for."""

    def __init__(self, path: Path, *, verify_checksum: bool = False, direct: bool = False) -> None:
        self.path = Path(path)
        self._direct: ChunkedRows | None = None
        self._datasets: dict[str, h5py.Dataset] = {}
        sidecar_path = self.path.with_suffix(SIDECAR_SUFFIX)
        self.sidecar = read_sidecar(sidecar_path) if sidecar_path.exists() else None
        if verify_checksum:
            if self.sidecar is None:
                raise DataFileError(f"{self.path} has no sidecar to check its sha256 against.", path=str(self.path))
            if not self.path.exists() or sha256_of_file(self.path) != self.sidecar.payload_sha256:
                raise self._unusable(f"The sha256 of {self.path} differs from its sidecar's.")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            if not self.path.exists():
                raise DataFileError(f"The store file {self.path} does not exist.", path=str(self.path)) from None
            raise DataFileError(f"{self.path} is not a readable HDF5 file ({error}).", path=str(self.path)) from None
        try:
            self._check_structure()
            self.provenance = self._read_provenance()
            self._load_columns()
            if direct:
                self._direct = ChunkedRows.of(self.path, self._datasets["rows/heatmap"])
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            self._file.close()
            if isinstance(error, DataFileError):
                raise
            raise DataFileError(f"{self.path} can't be read: {error}.", path=str(self.path)) from error

    def close(self) -> None:
        self._file.close()
        if self._direct is not None:
            self._direct.close()

    @property
    def video_id(self) -> str:
        return self.provenance.video_id

    def __len__(self) -> int:
        return len(self.row_frame)

    @property
    def row_has_head(self) -> npt.NDArray[np.bool_]:
        """[N] whether a row's box is a head; without head boxes it stands for the frame."""
        whole = (self.row_box == (0, 0, 1, 1)).all(axis=1)
        return np.asarray(~(whole & (self.row_prompt == Prompt.NONE)), dtype=np.bool_)

    def read_heatmaps(self, start: int, stop: int) -> npt.NDArray[np.float16]:
        """Heatmaps of rows [start, stop), float16 [n, H, W] in 0..1."""
        if not 0 <= start <= stop <= len(self):
            raise FrameRangeError(f"Rows [{start}, {stop}) are outside the {len(self)} rows of {self.path}.")
        if self._direct is not None:
            return self._direct.read(start, stop)
        return self._read("rows/heatmap", slice(start, stop))

    @functools.cached_property
    def tokens_shape(self) -> tuple[int, int, int] | None:
        """(G, G, C) of a row's scene tokens, None: the store keeps none; DataFileError for a column that is none."""
        if not self._has_extra("tokens"):
            return None
        self._check_dataset(_TOKENS, "float16", 4)
        count, rows, columns, channels = self._datasets[_TOKENS].shape
        if count != len(self) or rows != columns or not rows * channels:
            found = (count, rows, columns, channels)
            raise DataFileError(f"{self.path}: {_TOKENS} has the shape {found}, not [{len(self)}, G, G, C].")
        return rows, columns, channels

    def read_tokens(self, start: int, stop: int) -> npt.NDArray[np.float16]:
        """Scene tokens of rows [start, stop), float16 [n, G, G, C]; DataFileError where the store keeps none."""
        if self.tokens_shape is None:
            raise DataFileError(
                f"{self.path} keeps no scene tokens.",
                hint="Make it by gazetools extract VIDEOS -o STORE --keep tokens.",
                path=str(self.path),
            )
        if not 0 <= start <= stop <= len(self):
            raise FrameRangeError(f"Rows [{start}, {stop}) are outside the {len(self)} rows of {self.path}.")
        return self._read(_TOKENS, slice(start, stop))

    def rows(self, start: int = 0, stop: int | None = None, *, frame: int | None = None) -> Rows:
        """Rows [start, stop) in the order of (frame, track_id), or all rows of one decoded `frame` (maybe none)."""
        if frame is not None:
            start, stop = (int(i) for i in np.searchsorted(self.row_frame, [frame, frame + 1]))
        stop = len(self) if stop is None else stop
        part = slice(start, stop)
        return Rows(
            frame=self.row_frame[part],
            track_id=self.row_track_id[part],
            box_xyxy=self.row_box[part],
            inout=self.row_inout[part],
            prompt=self.row_prompt[part],
            heatmap=self.read_heatmaps(start, stop),
        )

    def heatmaps(self, track_id: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]:
        """Frames [n] and heatmaps [n, H, W] of one person; DataFileError for an id that is not in the store."""
        if track_id not in self.tracks:
            known = ", ".join(str(i) for i in sorted(self.tracks)[:20]) or "none"
            raise DataFileError(f"{self.path} has no track {track_id}; its tracks are: {known}.")
        chosen = np.flatnonzero(self.row_track_id == track_id)
        runs = np.split(chosen, np.flatnonzero(np.diff(chosen) != 1) + 1)  # consecutive rows
        maps = [self.read_heatmaps(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
        return self.row_frame[chosen], np.concatenate([np.zeros((0, *self.heatmap_shape), np.float16), *maps])

    def extra(self, name: str) -> npt.NDArray[Any] | None:
        """The further column `extra/<name>`, one entry per row; None where the store has none of that name."""
        full = f"{EXTRA_GROUP}/{name}"
        if not self._has_extra(name):
            return None
        column = self._linked(full)
        if not isinstance(column, h5py.Dataset):
            raise DataFileError(f"{self.path}: {full} is not a dataset.")
        dtype, rank = column.dtype, len(column.shape)
        if dtype.kind not in "fiu" or not 1 <= rank <= 2 or len(column) != len(self):
            raise DataFileError(f"{self.path}: {full} is {dtype} {column.shape}, no column of numbers.")
        self._check_dataset(full, str(dtype), rank)
        return self._read(full)

    def _read(self, name: str, key: Any = ()) -> Any:
        try:
            return self._datasets[name][key]
        except OSError as error:
            raise self._unusable(f"{self.path}: {name} is damaged ({str(error).splitlines()[0]}).") from None

    def _unusable(self, what: str) -> DataFileError:
        return DataFileError(what, hint="Run extract again for this video with --overwrite.", path=str(self.path))

    def _check_structure(self) -> None:
        for column in COLUMNS:
            self._check_dataset(column.dataset, column.dtype, column.rank)
            shape = self._datasets[column.dataset].shape
            if column.tail is not None and shape[1:] != column.tail:
                raise DataFileError(f"{self.path}: {column.dataset} has the shape {shape}, not [N, {column.tail}].")
        for group in (ROWS, TRACKS):
            wanted = self._datasets[group[0].dataset].shape[0]
            for column in group:
                if (found := self._datasets[column.dataset].shape[0]) != wanted:
                    raise DataFileError(f"{self.path}: {column.dataset} has {found} rows, not {wanted}.")
        shape = self._datasets["rows/heatmap"].shape
        self.heatmap_shape = int(shape[1]), int(shape[2])
        """(H, W) of every heatmap."""

    def _has_extra(self, name: str) -> bool:
        return self._file.get(EXTRA_GROUP, getlink=True) is not None and name in self._linked(EXTRA_GROUP)

    def _check_dataset(self, name: str, dtype: str, rank: int) -> None:
        dataset = self._linked(name)
        if not isinstance(dataset, h5py.Dataset):
            raise DataFileError(f"{self.path}: {name} is not a dataset.")
        if dataset.is_virtual or dataset.external:
            raise DataFileError(f"{self.path}: {name} keeps its data in another file, which is refused.")
        plist = dataset.id.get_create_plist()
        filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
        if filters - _ALLOWED_FILTERS:
            raise DataFileError(f"{self.path}: {name} uses HDF5 filters {sorted(filters)}, which is refused.")
        if dataset.dtype != np.dtype(dtype) or len(dataset.shape) != rank:
            found = f"{dataset.dtype} of rank {len(dataset.shape)}"
            raise DataFileError(f"{self.path}: {name} is {found}; it must be {dtype} of rank {rank}.")
        if dataset.nbytes > _MAX_EXPANSION * max(dataset.id.get_storage_size(), 1):
            raise DataFileError(f"{self.path}: {name} claims {dataset.nbytes} bytes that are not stored.")
        self._datasets[name] = dataset

    def _linked(self, name: str) -> Any:
        """The object at `name`, reached by hard links only."""
        group: Any = self._file
        for part in name.split("/"):
            link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
            if link is None:
                raise DataFileError(f"{self.path}: the dataset {name} is missing; this is no gazetools store.")
            if not isinstance(link, h5py.HardLink):
                raise DataFileError(f"{self.path}: {name} is a link to elsewhere, which is refused.")
            group = group[part]
        return group

    def _read_provenance(self) -> Provenance:
        text = self._file.attrs.get("provenance")
        if not isinstance(text, str) or len(text.encode("utf-8")) >= MAX_PROVENANCE_BYTES:
            raise DataFileError(f"{self.path} has no usable provenance attribute (one JSON text under 32 KB).")
        try:
            return Provenance.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            raise DataFileError(
                f"{self.path}: its provenance does not parse at {'.'.join(map(str, problem['loc']))}: {problem['msg']}."
            ) from None

    def _load_columns(self) -> None:
        self.row_frame: npt.NDArray[np.int64] = self._read("rows/frame")
        self.row_track_id: npt.NDArray[np.int32] = self._read("rows/track_id")
        self.row_box: npt.NDArray[np.float32] = self._read("rows/box")
        self.row_inout: npt.NDArray[np.float32] = self._read("rows/inout")
        self.row_prompt: npt.NDArray[np.uint8] = self._read("rows/prompt")
        self.frames = StoreFrames(
            index=self._read("frames/index"),
            pts_seconds=self._read("frames/pts_seconds"),
            fingerprint=self._read("frames/fingerprint"),
            fingerprint_index=self._read("frames/fingerprint_index"),
        )
        if len(self.frames.index) != len(self.frames.pts_seconds):
            raise DataFileError(f"{self.path}: frames/index and frames/pts_seconds differ in length.")
        roles = (r.decode("utf-8") if isinstance(r, bytes) else str(r) for r in self._read("tracks/role"))
        self.tracks: dict[int, str] = dict(zip(self._read("tracks/id").tolist(), roles, strict=True))


def open_store(path: str | Path, *, verify_checksum: bool = False, direct: bool = False) -> StoreReader:
    """Open one store file (`STORE/<video_id>.h5`) for reading.

    `direct` reads heatmaps past HDF5 and its per-chunk checksums, several times faster: for callers that compare the
    file's sha256 before they use what they read.

    Raises DataFileError where it is missing, damaged, hostile (links, virtual or external data, unknown filters,
    shape bombs) or of another format; with `verify_checksum` also where its sha256 is not the sidecar's.

    >>> with open_store("STORE/take/cam01.h5") as store:     # doctest: +SKIP
    ...     frames, maps = store.heatmaps(track_id=1)
    """
    return StoreReader(Path(path), verify_checksum=verify_checksum, direct=direct)
