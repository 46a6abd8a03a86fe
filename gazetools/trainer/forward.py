"""The one encoder pass of a batch, and what the arms need beside its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.arms.learner import Trunk
from gazetools.trainer.arms.sources import sources_of
from gazetools.trainer.data.clips import Batch, ClipDataset


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A batch as the arms read it, on the device."""

    tokens: Tensor
    """[B, N, D] of the frozen encoder."""
    sources: dict[str, Tensor]
    """Heatmap source -> [B, T, H, W]; empty where no arm reads any."""
    labels: dict[str, Tensor]
    """Task -> int64 [B]."""
    video_ids: list[str]
    """Video of each clip or, of `take/camera`, take."""


class Forward:
    """Encodes batches for all trunks, which share one encoder."""

    def __init__(self, config: TrainingConfig, trunks: Sequence[Trunk], device: torch.device) -> None:
        self.config = config
        self.trunks = trunks
        self.device = device
        self._ids: dict[int, dict[int, str]] = {}

    def encode(self, batch: Batch, dataset: ClipDataset) -> Encoded:
        """One pass; the batch must have readable clips."""
        if batch.video is None:
            raise AssertionError("an empty batch has no forward pass")
        with self.autocast():
            tokens = self.trunks[0].wrapper.encode(batch.video.to(self.device, non_blocking=True))
        wanted = any(trunk.wrapper.takes_heatmap for trunk in self.trunks)
        sources = {n: m.to(self.device, non_blocking=True) for n, m in sources_of(batch).items()} if wanted else {}
        labels = {task: values.to(self.device) for task, values in batch.labels.items()}
        by_index = self._video_ids_of(dataset)
        return Encoded(
            tokens=tokens, sources=sources, labels=labels, video_ids=[by_index[index] for index in batch.clips]
        )

    def autocast(self) -> torch.autocast:
        """bfloat16 on CUDA where the config asks for it."""
        enabled = self.config.experiment.optimization.use_bfloat16 and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _video_ids_of(self, dataset: ClipDataset) -> dict[int, str]:
        """Clip index -> video or take, made once per split."""
        known = self._ids.get(id(dataset.split))
        if known is None:
            known = {clip.index: clip.segment.group for clip in dataset.split.clips}
            self._ids[id(dataset.split)] = known
        return known
