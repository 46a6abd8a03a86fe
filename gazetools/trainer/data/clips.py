"""One clip as tensors: frames and heatmaps of the same moments under the same geometric transform."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.training import Compat, DataSettings
from gazetools.schemas.training_data import PRIMARY_SOURCE
from gazetools.trainer.data.annotations import LabelSpace
from gazetools.trainer.data.augment import draw_augmentation
from gazetools.trainer.data.geometry import View, evaluation_view, shifted_views, training_view, whole_view
from gazetools.trainer.data.heatmap_source import ClipFramesAsked, MapSource
from gazetools.trainer.data.index_cache import open_indexed
from gazetools.trainer.data.order import clip_random
from gazetools.trainer.data.plan import Clip, SplitPlan
from gazetools.trainer.data.sampling import ClipFrames, anchor_seconds, clip_frames, clip_frames_vjepa2
from gazetools.trainer.data.transforms import erase, transform_frames, transform_heatmaps

_OPEN_VIDEOS = 8


class Video(Protocol):
    """What is used of gazetools.video.VideoReader."""

    @property
    def pts_seconds(self) -> npt.NDArray[np.float64]:
        """float64 [T]."""

    @property
    def info(self) -> Any:
        """gazetools.schemas.video.VideoInfo; read are `height` and `width`, and `rate` for compat."""

    def frames(self, indices: Any) -> Iterator[Any]:
        """gazetools.schemas.video.Frame for each of the strictly ascending indices."""

    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip."""

    clip: int
    """Clip.index."""
    video: Tensor
    """float32 [3, T, side, side]."""
    heatmaps: dict[str, Tensor]
    """Source name -> float32 [T, heatmap side, heatmap side] in 0..1, zeros where the clip has none."""
    anticipation_seconds: float
    labels: dict[str, int]
    counts: dict[str, int]
    """clips_before_video, heatmap_missing (0 or 1 each) and heatmap_invalid_frames; further sources' counts end in
    their name."""

    @property
    def heatmap(self) -> Tensor | None:
        """The first source's; None where the run uses none."""
        return next(iter(self.heatmaps.values()), None)


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
    """The first source's [B, T, heatmap side, heatmap side]."""
    anticipation_seconds: Tensor
    """float64 [B]."""
    labels: dict[str, Tensor]
    """Task -> int64 [B]; not below the task's number of classes for classes that only validation has."""
    counts: dict[str, int]
    unreadable: list[Unreadable] = field(default_factory=list)
    heatmaps: dict[str, Tensor] = field(default_factory=dict)
    """Every source by name, the first one included."""


class ClipDataset(Dataset[Sample | Unreadable]):
    """The clips of a split; item i is a pure function of (seed, epoch, i), whichever process loads it.

    Args:
        split: the clips with anchor and anticipation times.
        data: frame rate, sizes, crops.
        labels: the training set's classes.
        heatmaps: sources by name (gazetools.trainer.data.sources.build_sources), or one; None trains without.
        training: random crops and flips; False: V-JEPA 2's evaluation transform.
        compat: `vjepa2` chooses frames as its released loader does.
        index_cache: folder for frame indexes; None takes `data.index_cache`.
        reader: opens a video; None: the exact reader, single-threaded inside a loader's worker.
    """

    def __init__(
        self,
        split: SplitPlan,
        data: DataSettings,
        labels: LabelSpace,
        *,
        heatmaps: Mapping[str, MapSource] | MapSource | None,
        training: bool,
        seed: int,
        compat: Compat = "none",
        index_cache: Path | None = None,
        reader: Callable[[Path], Video] | None = None,
    ) -> None:
        self.split = split
        self.data = data
        self.labels = labels
        self.heatmaps = _by_name(heatmaps)
        self.training = training
        self.seed = seed
        self.epoch = 0
        """Set before each training epoch; validation keeps 0, so that its draws never change."""
        self.compat = compat
        self.index_cache = index_cache or (Path(data.index_cache) if data.index_cache else None)
        self.reader = reader
        self._videos: OrderedDict[Path, Video] = OrderedDict()

    def __len__(self) -> int:
        return len(self.split.clips)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_videos": OrderedDict()}

    def __getitem__(self, place: int) -> Sample | Unreadable:
        clip = self.split.clips[place]
        if get_worker_info() is not None:
            cv2.setNumThreads(1)  # the workers are the parallelism
        try:
            return self._load(clip)
        except GazetoolsError as error:
            return Unreadable(
                clip=clip.index, video_id=clip.segment.video_id, row=clip.segment.row, reason=error.message
            )

    def _load(self, clip: Clip) -> Sample:
        """The main path: draw, choose frames, decode, one geometry for frames and maps."""
        data = self.data
        random = clip_random(seed=self.seed, epoch=self.epoch, clip=clip.index)
        tau = float(random.uniform(*self.split.anticipation_seconds))
        point = float(random.uniform(*self.split.anchor.point))
        end = anchor_seconds(clip.segment.start_seconds, clip.segment.stop_seconds, point) - tau
        video = self._video(clip.video_path)
        chosen = self._frames(clip, video, random, end=end, tau=tau, point=point)
        frame_hw = (video.info.height, video.info.width)
        views, photometric = self._views(frame_hw, len(chosen.frame_indices), random)
        counts = {"clips_before_video": int(chosen.frames_before_video > 0)}
        asked = ClipFramesAsked(
            indices=chosen.frame_indices,
            video_pts_seconds=video.pts_seconds,
            # Under compat the observation ends with its last frame, whatever the clock says.
            end_seconds=_just_after(video, chosen) if self.compat == "vjepa2" else end,
            frame_hw=frame_hw,
        )
        heatmaps = self._heatmaps(clip, asked, views, random, counts)
        frames = _decoded(video, chosen.frame_indices)
        tensor = transform_frames(frames, views, data.resolution, photometric=photometric)
        if self.training and data.reprob > 0:
            tensor = erase(tensor, random, probability=data.reprob)
        return Sample(
            clip=clip.index,
            video=tensor,
            heatmaps=heatmaps,
            anticipation_seconds=tau,
            labels=self.labels.encode(clip.segment),
            counts=counts,
        )

    def _frames(
        self, clip: Clip, video: Video, random: np.random.Generator, *, end: float, tau: float, point: float
    ) -> ClipFrames:
        data = self.data
        if self.compat == "vjepa2" and clip.segment.frame_range is not None:
            start_frame, stop_frame = clip.segment.frame_range
            return clip_frames_vjepa2(
                start_frame=start_frame,
                stop_frame=stop_frame,
                video_fps=float(video.info.rate),
                frames_per_clip=data.frames_per_clip,
                frames_per_second=data.frames_per_second,
                anticipation_seconds=tau,
                point=point,
            )
        context = (data.train_context_sec or data.context_sec) if self.training else data.context_sec
        return clip_frames(
            video.pts_seconds,
            observation_end_seconds=end,
            frames_per_clip=data.frames_per_clip,
            frames_per_second=data.frames_per_second,
            context_seconds=float(random.uniform(*context)) if context is not None else None,
        )

    def _views(
        self, frame_hw: tuple[int, int], count: int, random: np.random.Generator
    ) -> tuple[list[View], tuple[tuple[str, float], ...]]:
        """One view per frame, and the photometric operations of the clip."""
        data = self.data
        if not self.training:
            whole = data.evaluation_crop == "whole"
            return [whole_view(frame_hw) if whole else evaluation_view(frame_hw, data.resolution)] * count, ()
        scale, ratio = data.random_resize_scale, data.random_resize_aspect_ratio
        first = training_view(frame_hw, random, scale=scale, aspect_ratio=ratio, flip=data.random_horizontal_flip)
        photometric: tuple[tuple[str, float], ...] = ()
        if data.auto_augment:
            drawn = draw_augmentation(random, frame_hw)
            first, photometric = replace(first, warp=drawn.warp), drawn.photometric
        if not data.motion_shift:
            return [first] * count, photometric
        last = training_view(frame_hw, random, scale=scale, aspect_ratio=ratio, flip=False)
        return shifted_views(first, last, count), photometric

    def _heatmaps(
        self,
        clip: Clip,
        asked: ClipFramesAsked,
        views: list[View],
        random: np.random.Generator,
        counts: dict[str, int],
    ) -> dict[str, Tensor]:
        """Maps of every source; adds what is missing or invalid to `counts`."""
        data, found = self.data, {}
        side = data.heatmap_resolution or data.resolution
        for number, (name, source) in enumerate(self.heatmaps.items()):
            ending = f"_{name}" if number else ""
            video_id = clip.heatmap_ids.get(name)
            counts[f"heatmap_missing{ending}"] = int(video_id is None)
            counts[f"heatmap_invalid_frames{ending}"] = 0
            if video_id is None:
                found[name] = torch.zeros(len(asked.indices), side, side)
                continue
            same = video_id == clip.segment.video_id
            maps = source.maps_of(video_id, replace(asked, same_video=same))
            shown = views if same else self._other_view((maps.maps_thw.shape[1], maps.maps_thw.shape[2]), random)
            found[name] = transform_heatmaps(maps.maps_thw, shown, side)
            counts[f"heatmap_invalid_frames{ending}"] = maps.invalid_frames
        return found

    def _other_view(self, map_hw: tuple[int, int], random: np.random.Generator) -> View:
        """Another camera's maps have nothing to do with the frames' crop: the whole map, or a crop of its own."""
        scale = self.data.heatmap_random_resize_scale
        if not self.training or scale == (1.0, 1.0):
            return whole_view(map_hw)
        return training_view(map_hw, random, scale=scale, aspect_ratio=self.data.random_resize_aspect_ratio, flip=False)

    def _open(self, path: Path) -> Video:
        # In a worker, one thread per decoder: the workers are the parallelism.
        return open_indexed(path, self.index_cache, threads=0 if get_worker_info() is None else 1)

    def _video(self, path: Path) -> Video:
        if path in self._videos:
            self._videos.move_to_end(path)
            return self._videos[path]
        video = (self.reader or self._open)(path)
        self._videos[path] = video
        if len(self._videos) > _OPEN_VIDEOS:
            self._videos.popitem(last=False)[1].close()
        return video


def _decoded(video: Video, indices: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames of ascending `indices`, repeats included, each decoded once and handed on at once."""
    wanted, counts = np.unique(indices, return_counts=True)
    for frame, count in zip(video.frames(wanted.tolist()), counts.tolist(), strict=True):
        yield from repeat(frame.rgb, count)


def _just_after(video: Video, chosen: ClipFrames) -> float:
    last = video.pts_seconds[chosen.frame_indices[-1]] - video.pts_seconds[0]
    return float(np.nextafter(last, np.inf))


def _by_name(heatmaps: Mapping[str, MapSource] | MapSource | None) -> dict[str, MapSource]:
    if heatmaps is None:
        return {}
    return dict(heatmaps) if isinstance(heatmaps, Mapping) else {PRIMARY_SOURCE: heatmaps}


def collate(items: list[Sample | Unreadable]) -> Batch:
    """Stack the readable clips; name the others."""
    samples = [item for item in items if isinstance(item, Sample)]
    sources = list(samples[0].heatmaps) if samples else []
    heatmaps = {name: torch.stack([sample.heatmaps[name] for sample in samples]) for name in sources}
    tasks = samples[0].labels if samples else {}
    names = samples[0].counts if samples else {}
    return Batch(
        clips=[sample.clip for sample in samples],
        video=torch.stack([sample.video for sample in samples]) if samples else None,
        heatmap=next(iter(heatmaps.values()), None),
        heatmaps=heatmaps,
        anticipation_seconds=torch.tensor([sample.anticipation_seconds for sample in samples], dtype=torch.float64),
        labels={task: torch.tensor([sample.labels[task] for sample in samples]) for task in tasks},
        counts={name: sum(sample.counts[name] for sample in samples) for name in names},
        unreadable=[item for item in items if isinstance(item, Unreadable)],
    )
