"""One clip as tensors: frames and heatmaps of the same moments under the same geometric transform."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.training import DataSettings
from gazetools.trainer.data.annotations import LabelSpace
from gazetools.trainer.data.heatmap_source import HeatmapSource
from gazetools.trainer.data.order import clip_random
from gazetools.trainer.data.plan import Clip, SplitPlan
from gazetools.trainer.data.sampling import anchor_seconds, clip_frames
from gazetools.trainer.data.transforms import evaluation_view, training_view, transform_frames, transform_heatmaps

_OPEN_VIDEOS = 8


class Video(Protocol):
    """What is used of gazetools.video.VideoReader."""

    @property
    def pts_seconds(self) -> npt.NDArray[np.float64]:
        """float64 [T]."""

    def read(self, indices: Any) -> npt.NDArray[np.uint8]:
        """uint8 [n, H, W, 3] RGB."""

    def close(self) -> None:
        """Let go of the file."""


def open_video(path: Path) -> Video:
    """The exact reader."""
    from gazetools.video import VideoReader

    return VideoReader(path)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip."""

    clip: int
    """Clip.index."""
    video: Tensor
    """float32 [3, T, side, side]."""
    heatmap: Tensor | None
    """float32 [T, heatmap side, heatmap side] in 0..1; None where the run uses none."""
    anticipation_seconds: float
    labels: dict[str, int]
    counts: dict[str, int]
    """clips_before_video, heatmap_missing (0 or 1 each) and heatmap_invalid_frames."""


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A clip that could not be read, and why."""

    clip: int
    video_id: str
    row: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Readable clips of one batch, and the unreadable ones."""

    clips: list[int]
    video: Tensor | None
    """float32 [B, 3, T, side, side]; None where no clip of the batch could be read."""
    heatmap: Tensor | None
    anticipation_seconds: Tensor
    """float64 [B]."""
    labels: dict[str, Tensor]
    """Task -> int64 [B]."""
    counts: dict[str, int]
    unreadable: list[Unreadable] = field(default_factory=list)


class ClipDataset(Dataset[Sample | Unreadable]):
    """The clips of a split; item i is a pure function of (seed, epoch, i), whichever process loads it.

    Args:
        split: the clips with anchor and anticipation times.
        data: frame rate, sizes, crops.
        labels: the training set's classes.
        heatmaps: None trains without.
        training: random crops and flips; False: V-JEPA 2's evaluation transform.
        reader: opens a video.
    """

    def __init__(
        self,
        split: SplitPlan,
        data: DataSettings,
        labels: LabelSpace,
        *,
        heatmaps: HeatmapSource | None,
        training: bool,
        seed: int,
        reader: Callable[[Path], Video] = open_video,
    ) -> None:
        self.split = split
        self.data = data
        self.labels = labels
        self.heatmaps = heatmaps
        self.training = training
        self.seed = seed
        self.epoch = 0
        """Set before each training epoch; validation keeps 0, so that its draws never change."""
        self.reader = reader
        self._videos: OrderedDict[Path, Video] = OrderedDict()

    def __len__(self) -> int:
        return len(self.split.clips)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_videos": OrderedDict()}

    def __getitem__(self, place: int) -> Sample | Unreadable:
        clip = self.split.clips[place]
        try:
            return self._load(clip)
        except GazetoolsError as error:
            return Unreadable(
                clip=clip.index, video_id=clip.segment.video_id, row=clip.segment.row, reason=error.message
            )

    def _load(self, clip: Clip) -> Sample:
        data, segment = self.data, clip.segment
        random = clip_random(seed=self.seed, epoch=self.epoch, clip=clip.index)
        tau = float(random.uniform(*self.split.anticipation_seconds))
        point = float(random.uniform(*self.split.anchor.point))
        end = anchor_seconds(segment.start_seconds, segment.stop_seconds, point) - tau
        video = self._video(clip.video_path)
        chosen = clip_frames(
            video.pts_seconds,
            observation_end_seconds=end,
            frames_per_clip=data.frames_per_clip,
            frames_per_second=data.frames_per_second,
        )
        wanted, inverse = np.unique(chosen.frame_indices, return_inverse=True)
        frames = video.read(wanted)[inverse]
        frame_hw = (frames.shape[1], frames.shape[2])
        if self.training:
            view = training_view(
                frame_hw,
                random,
                scale=data.random_resize_scale,
                aspect_ratio=data.random_resize_aspect_ratio,
                flip=data.random_horizontal_flip,
            )
        else:
            view = evaluation_view(frame_hw, data.resolution)
        counts = {
            "clips_before_video": int(chosen.frames_before_video > 0),
            "heatmap_missing": 0,
            "heatmap_invalid_frames": 0,
        }
        heatmap: Tensor | None = None
        if self.heatmaps is not None:
            side = data.heatmap_resolution or data.resolution
            if clip.has_heatmap:
                maps = self.heatmaps.read(
                    segment.video_id, chosen.frame_indices, video.pts_seconds, observation_end_seconds=end
                )
                heatmap = transform_heatmaps(maps.maps_thw, view, side)
                counts["heatmap_invalid_frames"] = maps.invalid_frames
            else:
                heatmap = torch.zeros(data.frames_per_clip, side, side)
                counts["heatmap_missing"] = 1
        return Sample(
            clip=clip.index,
            video=transform_frames(frames, view, data.resolution),
            heatmap=heatmap,
            anticipation_seconds=tau,
            labels=self.labels.encode(segment),
            counts=counts,
        )

    def _video(self, path: Path) -> Video:
        if path in self._videos:
            self._videos.move_to_end(path)
            return self._videos[path]
        video = self.reader(path)
        self._videos[path] = video
        if len(self._videos) > _OPEN_VIDEOS:
            self._videos.popitem(last=False)[1].close()
        return video


def collate(items: list[Sample | Unreadable]) -> Batch:
    """Stack the readable clips; name the others."""
    samples = [item for item in items if isinstance(item, Sample)]
    heatmaps = [sample.heatmap for sample in samples if sample.heatmap is not None]
    tasks = samples[0].labels if samples else {}
    names = samples[0].counts if samples else {}
    return Batch(
        clips=[sample.clip for sample in samples],
        video=torch.stack([sample.video for sample in samples]) if samples else None,
        heatmap=torch.stack(heatmaps) if heatmaps else None,
        anticipation_seconds=torch.tensor([sample.anticipation_seconds for sample in samples], dtype=torch.float64),
        labels={task: torch.tensor([sample.labels[task] for sample in samples]) for task in tasks},
        counts={name: sum(sample.counts[name] for sample in samples) for name in names},
        unreadable=[item for item in items if isinstance(item, Unreadable)],
    )
