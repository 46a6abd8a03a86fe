"""Packed heatmaps as a torch dataset of clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from gazetools.heatmaps import HeatmapReader
from gazetools.heatmaps.reader import MissingPolicy
from gazetools.heatmaps.values import resize
from gazetools.io.open_files import OpenFiles
from gazetools.layouts.locate import list_foreign, raw_manifest
from gazetools.schemas.dataset import MANIFEST_NAME
from gazetools.schemas.errors import UsageError
from gazetools.schemas.foreign import ArrayChoice


class HeatmapClip(TypedDict):
    """One item of a HeatmapDataset; torch's default collate makes batches of it."""

    heatmap: torch.Tensor
    """float32 [frames, H, W]."""
    valid: torch.Tensor
    """bool [frames]: the map was computed from this very frame."""
    inout: torch.Tensor
    """float32 [frames], NaN where unknown."""
    index: torch.Tensor
    """int64 [frames], rows of the video."""
    pts_seconds: torch.Tensor
    """float64 [frames], NaN where unknown."""
    video_id: str


class HeatmapDataset(torch.utils.data.Dataset[HeatmapClip]):
    """Clips of `frames` rows, `stride` rows apart, beginning every `hop` rows, of every video that is long enough.

    `dataset_path`, `missing` and `choice` are those of HeatmapReader. `hop` None: clips touch. `video_ids` None: all.
    `size`: (H, W) to resize to; None keeps each video's, which must then be equal for batches. DataLoader workers each
    open the files for themselves. Raises UsageError for numbers below 1 or no video, DataFileError for bad heatmaps.

    >>> clips = HeatmapDataset("DATASET", frames=16, stride=4)           # doctest: +SKIP
    >>> batch = next(iter(DataLoader(clips, batch_size=8, num_workers=2)))  # doctest: +SKIP
    >>> batch["heatmap"].shape                                           # doctest: +SKIP
    torch.Size([8, 16, 64, 64])
    """

    def __init__(
        self,
        dataset_path: str | Path,
        *,
        frames: int,
        stride: int = 1,
        hop: int | None = None,
        video_ids: Sequence[str] | None = None,
        size: tuple[int, int] | None = None,
        missing: MissingPolicy = "error",
        choice: ArrayChoice | None = None,
    ) -> None:
        span = (frames - 1) * stride + 1
        hop = span if hop is None else hop
        for name, value in (("frames", frames), ("stride", stride), ("hop", hop)):
            if value < 1:
                raise UsageError(f"{name} = {value} must be at least 1.")
        self.dataset_path = Path(dataset_path)
        self._frames, self._stride, self._size, self._missing, self._choice = frames, stride, size, missing, choice
        self._readers: OpenFiles[str, HeatmapReader] = OpenFiles(32)
        self.video_ids = list(video_ids) if video_ids is not None else self._all_ids()
        """Videos of the dataset, in this order."""
        starts = []
        self.too_short: list[str] = []
        """Videos with fewer rows than one clip spans, which have no clip."""
        for number, video_id in enumerate(self.video_ids):
            first = np.arange(0, len(self._reader(video_id)) - span + 1, hop)
            starts.append(np.stack([np.full(len(first), number), first], axis=1))
            if not len(first):
                self.too_short.append(video_id)
        self._starts = np.concatenate([np.zeros((0, 2), np.int64), *starts])

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._starts)

    def __getitem__(self, position: int) -> HeatmapClip:
        """Clip number `position`. Raises IndexError for one outside of the clips."""
        number, first = self._starts[position].tolist()
        video_id = self.video_ids[number]
        reader = self._reader(video_id)
        index = first + self._stride * np.arange(self._frames)
        maps = reader.read(index)
        unknown = np.full(len(reader), np.nan)
        inout = unknown.astype(np.float32) if reader.inout is None else reader.inout
        pts_seconds = unknown if reader.pts_seconds is None else reader.pts_seconds
        return {
            "heatmap": torch.from_numpy(maps if self._size is None else resize(maps, self._size)),
            "valid": torch.from_numpy(reader.valid[index]),
            "inout": torch.from_numpy(inout[index]),
            "index": torch.from_numpy(index),
            "pts_seconds": torch.from_numpy(pts_seconds[index]),
            "video_id": video_id,
        }

    def _all_ids(self) -> list[str]:
        path = self.dataset_path
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder.", hint="Pass a dataset or a folder of heatmaps.")
        ids = raw_manifest(path)["videos"] if (path / MANIFEST_NAME).exists() else list_foreign(path)
        if not ids:
            raise UsageError(f"{path} holds no heatmaps.", hint="Pass the folder of gazetools pack -o.")
        return sorted(ids)

    def _reader(self, video_id: str) -> HeatmapReader:
        return self._readers.get(
            video_id,
            lambda: HeatmapReader(
                self.dataset_path, video_id, missing=self._missing, size=self._size, choice=self._choice
            ),
        )
