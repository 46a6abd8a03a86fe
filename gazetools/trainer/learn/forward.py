"""The one encoder pass of a batch, and what the arms need beside its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.batch import Batch
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.learn.controls import sources_of
from gazetools.trainer.learn.encoding import encode_batch
from gazetools.trainer.learn.learner import Trunk


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A batch as the arms read it, on the device."""

    tokens: Tensor
    """[B, N, D] of the frozen encoder."""
    sources: dict[str, Tensor]
    """Heatmap source -> [B, T, H, W]; empty where no arm reads any."""
    labels: dict[str, Tensor]
    """Task -> int64 [B]."""


class Forward:
    """Encodes batches for all trunks, which share one encoder."""

    def __init__(self, config: TrainingConfig, trunks: Sequence[Trunk], device: torch.device) -> None:
        self.config = config
        self.trunks = trunks
        self.device = device

    def encode(self, batch: Batch, dataset: ClipDataset) -> Encoded:
        """One pass; the batch must have readable clips."""
        with self.autocast():
            tokens = encode_batch(self.trunks[0].wrapper, batch, self.device, dataset.features)
        wanted = any(trunk.wrapper.takes_heatmap for trunk in self.trunks)
        sources = {n: m.to(self.device, non_blocking=True) for n, m in sources_of(batch).items()} if wanted else {}
        labels = {task: values.to(self.device, non_blocking=True) for task, values in batch.labels.items()}
        return Encoded(tokens=tokens, sources=sources, labels=labels)

    def autocast(self) -> torch.autocast:
        """bfloat16 on CUDA where the config asks for it."""
        enabled = self.config.experiment.optimization.use_bfloat16 and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)
