"""Heatmaps of single frames for pictures, from a store or from any dataset that HeatmapReader reads."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.heatmaps import HeatmapReader
from gazetools.io.closing import Closing
from gazetools.preview.overlay import PersonOverlay
from gazetools.schemas.dataset import MANIFEST_NAME
from gazetools.schemas.errors import UsageError
from gazetools.schemas.foreign import ArrayChoice
from gazetools.schemas.store import STORE_SUFFIX, Prompt
from gazetools.schemas.video_id import place_of_id
from gazetools.store import open_store


class OverlaySource(Closing):
    """Maps of single frames."""

    @abstractmethod
    def frames(self) -> list[int]:
        """Decoded-frame indices that have maps, ascending."""

    @abstractmethod
    def people(self, frame_index: int) -> list[PersonOverlay]:
        """The people of one frame; may be empty."""


class StoreOverlays(OverlaySource):
    """Overlays of a store file: each person with box, score and map."""

    def __init__(self, path: Path) -> None:
        self._store = open_store(path)

    def frames(self) -> list[int]:
        return np.unique(self._store.row_frame).tolist()

    def people(self, frame_index: int) -> list[PersonOverlay]:
        rows = self._store.rows(frame=frame_index)
        return [
            PersonOverlay(
                track_id=int(rows.track_id[i]),
                heatmap=rows.heatmap[i].astype(np.float32),
                box_xyxy=None if _is_whole_frame(rows.prompt[i], rows.box_xyxy[i]) else rows.box_xyxy[i],
                inout=float(rows.inout[i]),
            )
            for i in range(len(rows))
        ]

    def close(self) -> None:
        self._store.close()


def _is_whole_frame(prompt: int, box_xyxy: npt.NDArray[np.floating]) -> bool:
    """Whether a row's box stands for the frame, as without head boxes, and is no head."""
    return prompt == Prompt.NONE and bool((box_xyxy == (0, 0, 1, 1)).all())


class DatasetOverlays(OverlaySource):
    """Overlays of a packed dataset or another tool's folder, which have one map per frame."""

    def __init__(self, path: Path, video_id: str, choice: ArrayChoice) -> None:
        self._reader = HeatmapReader(path, video_id, choice=choice)
        # rows of a dataset that are not valid may be filled in; in another tool's folder they have no file
        self._skips_invalid = not (path / MANIFEST_NAME).exists()

    def frames(self) -> list[int]:
        return np.flatnonzero(self._reader.valid).tolist()

    def people(self, frame_index: int) -> list[PersonOverlay]:
        if frame_index >= len(self._reader) or (self._skips_invalid and not self._reader.valid[frame_index]):
            return []
        heatmap = self._reader.read([frame_index])[0]
        return [PersonOverlay(track_id=None, heatmap=heatmap, box_xyxy=None, inout=None)]

    def close(self) -> None:
        self._reader.close()


def open_overlays(heatmaps: Path, video_id: str, choice: ArrayChoice | None = None) -> OverlaySource:
    """The maps at `heatmaps`: a store file, a store folder, or anything HeatmapReader reads, for `video_id`."""
    choice = choice or ArrayChoice()
    if heatmaps.suffix == STORE_SUFFIX and heatmaps.is_file():
        choice.refuse_for(f"The store file {heatmaps}")
        return StoreOverlays(heatmaps)
    if not heatmaps.exists():
        raise UsageError(f"The heatmaps {heatmaps} do not exist.", hint="Check --heatmaps.")
    is_dataset = (heatmaps / MANIFEST_NAME).exists()  # its hdf5 layout has files of the same name as a store
    if heatmaps.is_dir() and not is_dataset and (in_store := place_of_id(heatmaps, video_id, STORE_SUFFIX)).is_file():
        choice.refuse_for(f"The store {heatmaps}")
        return StoreOverlays(in_store)
    return DatasetOverlays(heatmaps, video_id, choice)
