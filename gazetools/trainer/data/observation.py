"""The draw of a clip before anything is decoded: times, frames and geometry by (seed, epoch, clip)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazetools.schemas.training import Compat, DataSettings
from gazetools.trainer.data.augment import Augmentation, draw_augmentation
from gazetools.trainer.data.geometry import View, evaluation_view, shifted_views, training_view, whole_view
from gazetools.trainer.data.maps.base import ClipFramesAsked
from gazetools.trainer.data.order import clip_random
from gazetools.trainer.data.sampling import (
    ClipFrames,
    NumberedClip,
    anchor_seconds,
    clip_frames,
    clip_frames_jfaa,
    clip_frames_vjepa2,
    future_frames,
)
from gazetools.trainer.data.split import Clip, SplitPlan
from gazetools.trainer.data.video_facts import VideoFacts

_SEED_OF_VIEWS = 0


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """How a dataset shows the clips of a split."""

    training: bool
    """Random crops and flips; False: V-JEPA 2's evaluation transform."""
    seed: int
    compat: Compat = "none"
    """`vjepa2` and `jfaa` choose frames as their released loaders do."""
    shuffled: tuple[str, ...] = ()
    """Sources whose maps are also given under SHUFFLED + name, those of another video's clip."""
    future_frames: int = 0
    """Number of frames from the anticipated moment on that a loss needs; 0: none."""
    index_cache: Path | None = None
    """Folder for frame indexes; None takes `index_cache` of the data settings."""
    view: int | None = None
    """Number of the fixed view that every epoch shows; None: seed and epoch choose it."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The draws of one clip in one epoch, and frames and views that follow from them."""

    anticipation_seconds: float
    asked: ClipFramesAsked
    """The frames, and the end of the observation."""
    frames_before_video: int
    views: list[View]
    """One per frame."""
    photometric: tuple[tuple[str, float], ...]
    random: np.random.Generator
    """Generator for the remaining draws."""
    view: int | None = None
    """Number of the fixed view; None where every epoch draws anew."""


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Draws the observations of a split's clips."""

    split: SplitPlan
    data: DataSettings
    options: ClipOptions

    @property
    def augments(self) -> bool:
        """Whether crops, flips and augmentation are drawn."""
        return self.options.training and self.data.train_transform == "random"

    @property
    def repeats(self) -> bool:
        """Whether epochs show the same frames of a clip under the same geometry, or one of few such views."""
        context = self._context
        fixed = (self.split.anticipation_seconds, self.split.anchor.point, context or (0.0, 0.0))
        if not self.options.training or self.data.train_views is not None:
            return True
        return not self.augments and all(low == high for low, high in fixed)

    @property
    def _context(self) -> tuple[float, float] | None:
        data = self.data
        return (data.train_context_sec or data.context_sec) if self.options.training else data.context_sec

    def observe(self, clip: Clip, video: VideoFacts, *, epoch: int) -> Observation:
        """The frames before anchor - tau and one geometry for frames and maps; DataFileError where there are none."""
        random, view = self._random(clip, epoch)
        tau = float(random.uniform(*self.split.anticipation_seconds))
        point = float(random.uniform(*self.split.anchor.point))
        end = anchor_seconds(clip.segment.start_seconds, clip.segment.stop_seconds, point) - tau
        chosen = self._frames(clip, video, random, end=end, tau=tau, point=point)
        if self.options.compat != "none":  # the observation ends with its last frame, whatever the clock says
            end = float(np.nextafter(video.pts_seconds[chosen.frame_indices[-1]] - video.pts_seconds[0], np.inf))
        views, photometric = self._views(video.frame_hw, len(chosen.frame_indices), random)
        return Observation(
            anticipation_seconds=tau,
            asked=ClipFramesAsked(
                indices=chosen.frame_indices,
                video_pts_seconds=video.pts_seconds,
                end_seconds=end,
                frame_hw=video.frame_hw,
            ),
            frames_before_video=chosen.frames_before_video,
            views=views,
            photometric=photometric,
            random=random,
            view=view,
        )

    def _random(self, clip: Clip, epoch: int) -> tuple[np.random.Generator, int | None]:
        """Generator of a clip's draws, and the number of its fixed view.

        The epoch and the run's seed choose the view; what it shows depends on the clip alone, so that trainings of
        other seeds show the same views.
        """
        random = clip_random(seed=self.options.seed, epoch=epoch, clip=clip.index)
        if not self.options.training or self.data.train_views is None:
            return random, None
        view = int(random.integers(self.data.train_views)) if self.options.view is None else self.options.view
        return clip_random(seed=_SEED_OF_VIEWS, epoch=view, clip=clip.index), view

    def future(self, seen: Observation) -> npt.NDArray[np.int64] | None:
        """Frames of a clip that ends with the frames to be predicted; None: none wanted, or the video ends before."""
        if not self.options.future_frames:
            return None
        return future_frames(
            seen.asked.video_pts_seconds,
            first_future_seconds=seen.asked.end_seconds + seen.anticipation_seconds,
            future_count=self.options.future_frames,
            frames_per_clip=self.data.frames_per_clip,
            frames_per_second=self.data.frames_per_second,
        )

    def _frames(
        self, clip: Clip, video: VideoFacts, random: np.random.Generator, *, end: float, tau: float, point: float
    ) -> ClipFrames:
        data = self.data
        if self.options.compat != "none" and clip.segment.frame_range is not None:
            start_frame, stop_frame = clip.segment.frame_range
            numbers = NumberedClip(
                start_frame=start_frame,
                stop_frame=stop_frame,
                video_fps=float(video.rate),
                frames_per_clip=data.frames_per_clip,
                frames_per_second=data.frames_per_second,
                anticipation_seconds=tau,
                point=point,
            )
            if self.options.compat == "jfaa":
                return clip_frames_jfaa(numbers, frame_count=len(video.pts_seconds))
            return clip_frames_vjepa2(numbers)
        context = self._context
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
        if not self.augments:
            whole = data.evaluation_crop == "whole"
            return [whole_view(frame_hw) if whole else evaluation_view(frame_hw, data.resolution)] * count, ()
        scale, ratio = data.random_resize_scale, data.random_resize_aspect_ratio
        first = training_view(frame_hw, random, scale=scale, aspect_ratio=ratio, flip=data.random_horizontal_flip)
        drawn = draw_augmentation(random, frame_hw) if data.auto_augment else Augmentation(warp=None, photometric=())
        first = replace(first, warp=drawn.warp)
        if not data.motion_shift:
            return [first] * count, drawn.photometric
        last = training_view(frame_hw, random, scale=scale, aspect_ratio=ratio, flip=False)
        return shifted_views(first, last, count), drawn.photometric
