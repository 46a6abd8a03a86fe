"""The heatmaps that an arm sees in a batch: a source by name, and the controls that are derived from one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gazetools.schemas.arms import DEFAULT_SOURCE, Control
from gazetools.schemas.errors import UsageError
from gazetools.trainer.data.clips import Batch

_CENTRE_SIGMA = 1 / 6
"""Of the centre prior, as a share of the map's side: a blob whose two-sigma circle spans two thirds of it."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What one arm sees."""

    maps_bthw: Tensor | None
    without_partner: int = 0
    """Clips for which `shuffled` found no clip of another video in the batch; they see zeros."""


def sources_of(batch: Batch) -> dict[str, Tensor]:
    """Source name -> maps [B, T, H, W] in 0..1."""
    # The first source answers to the default name, too, where only `heatmap_sources` lists some.
    found = dict(batch.heatmaps)
    if batch.heatmap is not None:
        found.setdefault(DEFAULT_SOURCE, batch.heatmap)
    return found


def maps_for(
    sources: Mapping[str, Tensor], *, source: str | None, control: Control | None, video_ids: Sequence[str]
) -> Maps:
    """The maps of an arm; `video_ids` (of cameras of one take: the take) tells the clips apart.

    Raises UsageError where the batch has no such source.
    """
    if source is None:
        return Maps(maps_bthw=None)
    if source not in sources:
        raise UsageError(
            f"The arm's source {source!r} is none of the data's: {', '.join(sources) or 'there are no heatmaps'}.",
            hint="Name a source of experiment.data in arms.*.source.",
        )
    maps = sources[source]
    if control == "zeros":
        return Maps(maps_bthw=torch.zeros_like(maps))
    if control == "time_shifted":
        return Maps(maps_bthw=maps.roll(maps.shape[1] // 2, dims=1))
    if control == "centre":
        return Maps(maps_bthw=centre_prior(maps.shape[-2:], device=maps.device).to(maps.dtype).expand_as(maps))
    if control == "shuffled":
        partners = partners_of(video_ids)
        taken = maps[torch.tensor([max(p, 0) for p in partners], device=maps.device)]
        found = torch.tensor([p >= 0 for p in partners], device=maps.device).view(-1, 1, 1, 1)
        return Maps(maps_bthw=taken * found, without_partner=partners.count(-1))
    return Maps(maps_bthw=maps)


def partners_of(video_ids: Sequence[str]) -> list[int]:
    """For each clip the next one of the batch (cyclically) that shows another video; -1 where there is none.

    >>> partners_of(["a", "a", "b"])
    [2, 2, 0]
    """
    count = len(video_ids)
    return [
        next(((i + k) % count for k in range(1, count) if video_ids[(i + k) % count] != video_ids[i]), -1)
        for i in range(count)
    ]


def centre_prior(size_hw: Sequence[int], *, device: torch.device | None = None) -> Tensor:
    """A Gaussian in the middle of the crop, float32 [H, W] with maximum 1."""
    axes = [(torch.arange(n, dtype=torch.float32, device=device) + 0.5) / n - 0.5 for n in size_hw]
    squared = axes[0][:, None] ** 2 + axes[1][None, :] ** 2
    prior = torch.exp(-squared / (2 * _CENTRE_SIGMA**2))
    return prior / prior.max()
