"""The heatmaps that an arm sees in a batch: a source by name, and the controls derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gazetools.schemas.arms import DEFAULT_SOURCE, Control
from gazetools.schemas.errors import UsageError
from gazetools.trainer.data.batch import SHUFFLED, Batch

_CENTRE_SIGMA = 1 / 6  # sigma of the centre prior in map sides: its two-sigma circle spans two thirds of a side


def sources_of(batch: Batch) -> dict[str, Tensor]:
    """Source name -> maps [B, T, H, W] in 0..1; names of shuffled ones begin with SHUFFLED."""
    # The first source also has the default name, for arms that name none where only `heatmap_sources` lists some.
    found = dict(batch.heatmaps)
    first = next(iter(found), None)
    if first is not None:
        found.setdefault(DEFAULT_SOURCE, found[first])
        if SHUFFLED + first in found:
            found.setdefault(SHUFFLED + DEFAULT_SOURCE, found[SHUFFLED + first])
    return found


def maps_for(sources: Mapping[str, Tensor], *, source: str | None, control: Control | None) -> Tensor | None:
    """The maps [B, T, H, W] that an arm sees, if any. Raises UsageError where the batch has no such source."""
    if source is None:
        return None
    name = SHUFFLED + source if control == "shuffled" else source
    if name not in sources:
        raise UsageError(
            f"The arm's source {source!r} is none of the data's: {', '.join(sources) or 'there are no heatmaps'}.",
            hint="Name a source of experiment.data in arms.*.source.",
        )
    maps = sources[name]
    if control == "zeros":
        return torch.zeros_like(maps)
    if control == "time_shifted":
        return maps.roll(maps.shape[1] // 2, dims=1)
    if control == "centre":
        return centre_prior(maps.shape[-2:], device=maps.device).to(maps.dtype).expand_as(maps)
    return maps


def centre_prior(size_hw: Sequence[int], *, device: torch.device | None = None) -> Tensor:
    """A Gaussian in the middle of the crop, float32 [H, W] with maximum 1."""
    axes = [(torch.arange(n, dtype=torch.float32, device=device) + 0.5) / n - 0.5 for n in size_hw]
    squared = axes[0][:, None] ** 2 + axes[1][None, :] ** 2
    prior = torch.exp(-squared / (2 * _CENTRE_SIGMA**2))
    return prior / prior.max()
