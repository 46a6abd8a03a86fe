"""The one encoder pass of a batch: tokens of the observation (cached ones where there are any) and of the future."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gazetools.schemas.training import TrainingConfig
from gazetools.trainer.data.batch import Batch
from gazetools.trainer.data.clips import ClipDataset
from gazetools.trainer.data.feature_cache import FeatureCache, encoder_facts
from gazetools.trainer.learn.controls import sources_of
from gazetools.trainer.learn.losses import FutureTokens
from gazetools.trainer.learn.trunk import Trunk
from gazetools.trainer.models.wrapper import AnticipativeWrapperHeatmap
from gazetools.trainer.processes.world import World


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A batch as the arms read it, on the device."""

    tokens: Tensor  # [B, N, D] of the frozen encoder
    sources: dict[str, Tensor]  # heatmap source -> [B, T, H, W]; empty where no arm reads any
    labels: dict[str, Tensor]  # task -> int64 [B]


@dataclass(frozen=True)
class Forward:
    """Encodes batches for all trunks, which share one encoder."""

    config: TrainingConfig
    trunks: Sequence[Trunk]
    device: torch.device

    def encode(self, batch: Batch, dataset: ClipDataset) -> Encoded:
        """Encode a batch with readable clips in one pass."""
        with self.autocast():
            tokens = observed_tokens(self.trunks[0].wrapper, batch, self.device, dataset.features)
        wanted = any(trunk.wrapper.takes_heatmap for trunk in self.trunks)
        sources = {n: m.to(self.device, non_blocking=True) for n, m in sources_of(batch).items()} if wanted else {}
        labels = {task: values.to(self.device, non_blocking=True) for task, values in batch.labels.items()}
        return Encoded(tokens=tokens, sources=sources, labels=labels)

    def autocast(self) -> torch.autocast:
        """bfloat16 on CUDA where the config asks for it."""
        enabled = self.config.experiment.optimization.use_bfloat16 and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)


def observed_tokens(
    wrapper: AnticipativeWrapperHeatmap, batch: Batch, device: torch.device, cache: FeatureCache | None
) -> Tensor:
    """Encoder tokens [B, N, D] of the observed clips.

    With a cache every clip is encoded by itself, so that no stored number depends on its neighbours in the batch.
    """
    video = None if batch.video is None else batch.video.to(device, non_blocking=True)
    if cache is None or not any(batch.feature_keys):
        assert video is not None, "an empty batch has no encoder pass"
        return wrapper.encode(video)
    dtype = wrapper.encode_dtype
    rest = iter(()) if video is None else iter(video)
    rows = []
    for key, stored in zip(batch.feature_keys, batch.features, strict=True):
        if stored is not None:
            rows.append(stored.to(device, non_blocking=True).to(dtype))
        elif key is not None:
            rows.append(cache.store(key, wrapper.encode(next(rest)[None])[0]).to(dtype))
    return torch.stack(rows)


def encode_future(wrapper: AnticipativeWrapperHeatmap, batch: Batch, device: torch.device) -> FutureTokens | None:
    """Tokens of the predicted positions in the true future; None where the batch has none.

    The future is the end of a clip as long as the observation, the length that the encoder was trained with.
    """
    if batch.future is None or batch.future_known is None:
        return None
    tokens = wrapper.encode(batch.future.to(device, non_blocking=True))
    known = batch.future_known.nonzero().flatten().to(device, non_blocking=True)  # found on the CPU, without waiting
    return FutureTokens(tokens=tokens[:, -wrapper.predicted_count :], known=known)


def open_feature_cache(
    config: TrainingConfig, encoder: nn.Module, device: torch.device, world: World, *, note: Callable[[str], object]
) -> FeatureCache | None:
    """The config's cache of this encoder's tokens, ready for use in every process; None where it has none."""
    settings = config.experiment.data.feature_cache
    if settings is None:
        return None
    cache = FeatureCache(
        settings,
        encoder_facts(
            encoder,
            autocast=config.experiment.optimization.use_bfloat16 and device.type == "cuda",
            device=device,
            compiled=config.model_kwargs.pretrain_kwargs.encoder.compile,
        ),
        dtype=next(encoder.parameters()).dtype,
        share=1 / world.size,
        say=note,
    )
    note(cache.open(leads=world.leads))
    world.barrier()
    return cache
