"""Items of the data loader: a clip's tensors, a clip that could not be read, and a batch of both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

SHUFFLED = "shuffled:"
"""Prefix of a source's name: the maps that a clip of another video sees in the same epoch."""
WITHOUT_PARTNER = "without_partner_"
"""Prefix of a source's name: number of clips for which there is no clip of another video."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip."""

    clip: int
    """Clip.index."""
    video: Tensor
    """float32 [3, T, side, side]; T is 0 where `features` are there, which need no frames."""
    heatmaps: dict[str, Tensor]
    """Source name -> float32 [T, heatmap side, heatmap side] in 0..1, zeros where the clip has none; `gaze_tokens`:
    scene tokens [T, G, G * C]."""
    anticipation_seconds: float
    labels: dict[str, int]
    counts: dict[str, int]
    """clips_before_video, heatmap_missing (0 or 1 each) and heatmap_invalid_frames; names of further sources' counts
    end in the source's name."""
    future: Tensor | None = None
    """float32 like `video`: the frames that end with what is to be predicted. Only a loss may see them."""
    future_known: bool = False
    """Whether the video has these frames; `future` is zeros where it does not."""
    feature_key: str | None = None
    """Key of the encoder's tokens of this clip in the cache; None: not cached."""
    features: Tensor | None = None
    """The tokens [N, D] of `feature_key`, where the cache has them."""


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
    """B clips; empty where none of the batch could be read."""
    video: Tensor | None
    """float32 [B - cached, 3, T, side, side]: the clips without cached features, in order; None where none is."""
    anticipation_seconds: Tensor
    """float64 [B]."""
    labels: dict[str, Tensor]
    """Task -> int64 [B]; not below the task's number of classes for classes that only validation has."""
    counts: dict[str, int]
    unreadable: list[Unreadable] = field(default_factory=list)
    heatmaps: dict[str, Tensor] = field(default_factory=dict)
    """Source name -> float32 [B, T, heatmap side, heatmap side]."""
    future: Tensor | None = None
    """float32 [B, 3, T, side, side]; None where the run has no loss on the future."""
    future_known: Tensor | None = None
    """bool [B]."""
    feature_keys: list[str | None] = field(default_factory=list)
    features: list[Tensor | None] = field(default_factory=list)
    """B tokens [N, D] or None."""

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which it is copied to a GPU while the GPU computes.

        torch's DataLoader calls it by this name. The anticipation times stay: steps are computed from them on the CPU.
        """
        return replace(
            self,
            video=_pinned(self.video),
            heatmaps={name: maps.pin_memory() for name, maps in self.heatmaps.items()},
            labels={task: values.pin_memory() for task, values in self.labels.items()},
            future=_pinned(self.future),
            future_known=_pinned(self.future_known),
            features=[_pinned(tokens) for tokens in self.features],
        )


def _pinned(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.pin_memory()


def collate(items: list[Sample | Unreadable]) -> Batch:
    """Stack the readable clips; list the others."""
    samples = [item for item in items if isinstance(item, Sample)]
    sources = list(samples[0].heatmaps) if samples else []
    tasks = samples[0].labels if samples else {}
    names = dict.fromkeys(name for sample in samples for name in sample.counts)
    videos = [sample.video for sample in samples if sample.features is None]
    futures = [sample.future for sample in samples if sample.future is not None]
    return Batch(
        clips=[sample.clip for sample in samples],
        video=torch.stack(videos) if videos else None,
        heatmaps={name: torch.stack([sample.heatmaps[name] for sample in samples]) for name in sources},
        anticipation_seconds=torch.tensor([sample.anticipation_seconds for sample in samples], dtype=torch.float64),
        labels={task: torch.tensor([sample.labels[task] for sample in samples]) for task in tasks},
        counts={name: sum(sample.counts.get(name, 0) for sample in samples) for name in names},
        unreadable=[item for item in items if isinstance(item, Unreadable)],
        future=torch.stack(futures) if futures else None,
        future_known=torch.tensor([sample.future_known for sample in samples]) if futures else None,
        feature_keys=[sample.feature_key for sample in samples],
        features=[sample.features for sample in samples],
    )
