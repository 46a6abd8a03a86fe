"""Heatmaps of a store: raw maps combined over people and normalised while loading."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps.normalise import normalise
from gazetools.heatmaps.people import chosen_tracks, combine_people, weight
from gazetools.io.open_files import OpenFiles
from gazetools.sampling import nearest_indices
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.store import STORE_SUFFIX
from gazetools.schemas.training import InOutUse, MissingPolicy
from gazetools.schemas.training_data import HeatmapSourceSettings
from gazetools.schemas.video_id import place_of_id
from gazetools.store import StoreReader, list_store, open_store
from gazetools.store.listing import StoreEntry
from gazetools.trainer.data.maps.base import ClipFramesAsked, ClipHeatmaps, HeatmapSurvey, KnownMaps, survey_videos

_OPEN_STORES = 8


class StoreMaps:
    """Maps from the store `root`; the last eight files stay open.

    A frame that was not processed shows the processed frame nearest in time, within one period of the processed frames
    and before the end of the observation; otherwise zeros, counted as invalid like a frame without people.
    """

    def __init__(self, root: Path, settings: HeatmapSourceSettings, *, missing: MissingPolicy, inout: InOutUse) -> None:
        self.root = root
        self.settings = settings
        self.missing = missing
        self.inout = inout
        self._stores: OpenFiles[str, StoreReader] = OpenFiles(_OPEN_STORES)

    def survey(self, video_ids: Iterable[str]) -> HeatmapSurvey:
        """What the store has for these videos; an unfinished file is broken, not missing."""
        entries = {entry.video_id: entry for entry in list_store(self.root)}
        return survey_videos(video_ids, lambda video_id: self._inspect(entries.get(video_id)))

    def _inspect(self, entry: StoreEntry | None) -> KnownMaps | None:
        if entry is None:
            return None
        if entry.problem is not None:
            raise DataFileError(entry.problem)
        with open_store(entry.payload) as store:
            self._rows_of_people(store)
            content = store.sidecar.payload_sha256 if store.sidecar is not None else None
            # a box filled between two seen ones follows the later one
            filled = store.provenance.heads.counts.get("filled_boxes", 0) > 0
            return KnownMaps(content=content, has_inout=not np.isnan(store.row_inout).all(), uses_future=filled)

    def maps_of(self, video_id: str, asked: ClipFramesAsked) -> ClipHeatmaps:
        """Maps of the frames asked for, one for all people of a frame."""
        store = self._stores.get(video_id, lambda: open_store(place_of_id(self.root, video_id, STORE_SUFFIX)))
        shown = _shown_frames(store, asked)
        unique, inverse = np.unique(shown, return_inverse=True)
        maps = np.zeros((len(unique), *self._shape(store)), dtype=np.float32)
        found = np.zeros(len(unique), dtype=np.bool_)
        rows = self._rows_of_people(store)
        starts, stops = (np.searchsorted(store.row_frame[rows], unique + after) for after in (0, 1))
        for place, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            if stop > start:  # frame -1 and frames without people have no rows
                maps[place], found[place] = self._frame(store, rows[start:stop]), True
        return ClipHeatmaps(maps_thw=maps[inverse], invalid_frames=int((~found[inverse]).sum()))

    def _shape(self, store: StoreReader) -> tuple[int, int]:
        return store.heatmap_shape

    def _frame(self, store: StoreReader, people: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if self.settings.shows == "head_box":
            maps = maps_of_boxes(store.row_box[people], store.heatmap_shape)
        else:
            first, last = int(people[0]), int(people[-1])
            maps = store.read_heatmaps(first, last + 1)[people - first].astype(np.float32)
        if not np.isfinite(maps).all():
            message = f"{store.path} holds heatmaps that are not finite."
            raise DataFileError(message, hint="Run gazetools validate on it.")
        weights = weight(store.row_inout[people], self.inout)
        combined, largest = combine_people(maps, np.zeros(1, np.int64), weights, rule=self.settings.people)
        shown = normalise(combined, self.settings.normalize)
        return (shown if largest is None else shown * largest[:, None, None])[0]

    def _rows_of_people(self, store: StoreReader) -> npt.NDArray[np.int64]:
        tracks = chosen_tracks(store.tracks, self.settings.people)
        if tracks is None:
            return np.arange(len(store), dtype=np.int64)
        if not tracks:
            raise DataFileError(
                f"{store.path} has no person {self.settings.people!r}; its tracks are {sorted(store.tracks)[:20]}.",
                hint="Set people of this heatmap source to one of them, or to max or mean.",
            )
        return np.flatnonzero(np.isin(store.row_track_id, tracks)).astype(np.int64)


def maps_of_boxes(boxes_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """float32 [n, H, W] of relative boxes [n, 4]: the share of every cell that the box covers, so that none is lost."""
    shares = []
    for size, low, high in ((size_hw[0], 1, 3), (size_hw[1], 0, 2)):
        edges = np.arange(size + 1) / size
        ends = np.minimum(boxes_xyxy[:, [high]], edges[1:]), np.maximum(boxes_xyxy[:, [low]], edges[:-1])
        shares.append(np.maximum(ends[0] - ends[1], 0) * size)
    return (shares[0][:, :, None] * shares[1][:, None, :]).astype(np.float32)


def _shown_frames(store: StoreReader, asked: ClipFramesAsked) -> npt.NDArray[np.int64]:
    """[n] Processed frame shown for each asked one; -1 where none is near enough."""
    index, times, pts = store.frames.index, store.frames.pts_seconds, asked.video_pts_seconds
    first = pts[0] if asked.same_video else (times[0] if 0 in index[:1] else 0.0)
    relative = times - first
    usable = int(np.searchsorted(relative, asked.end_seconds, side="left"))
    if usable == 0:
        return np.full(len(asked.indices), -1, dtype=np.int64)
    wanted = pts[asked.indices] - pts[0]
    nearest = np.minimum(nearest_indices(relative, wanted), usable - 1)
    period = float(np.median(np.diff(relative))) if len(relative) > 1 else 0.0
    near = np.abs(relative[nearest] - wanted) <= period + 1e-6
    return np.where(near, index[nearest], -1).astype(np.int64)
