"""The optimizer of a model, whose state may be held in parts by the processes of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from gazetools.schemas.training_optimization import OptimizationSettings
from gazetools.trainer.processes.owners import Owners


class OptimizerShard:
    """AdamW over the parameters that this process owns; without owners over all.

    AdamW treats every value by itself, so that a sharded step has the bits of a whole one. torch's
    ZeroRedundancyOptimizer gives the same numbers (a test compares them), but it balances each model by itself and
    sends one message per model and process, and a step that is not finite would have to be found before it
    (docs/training.md, "Memory of many models").
    """

    def __init__(
        self,
        groups: Mapping[str, list[nn.Parameter]],
        settings: OptimizationSettings,
        *,
        owners: Owners | None,
        rank: int,
    ) -> None:
        self._parameters = [p for parameters in groups.values() for p in parameters]
        self._sizes = [len(parameters) for parameters in groups.values()]
        self.ranks = None if owners is None else owners.assign([p.numel() for p in self._parameters])
        """Rank that owns each parameter; None: every process steps all of them."""
        ranks = self.ranks or [rank] * len(self._parameters)
        self._own = [place for place, owner in enumerate(ranks) if owner == rank]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [self._parameters[place] for place in places if ranks[place] == rank], "name": name}
                for name, places in zip(groups, self._places(), strict=True)
            ],
            betas=settings.adam_betas,
            eps=settings.adam_eps,
            # One pass over memory per parameter: three times as fast as the plain loop on the CPU (measured).
            fused=True,
        )

    def state(self) -> dict[str, Any]:
        """The state numbered as torch numbers that of all parameters, with what this process owns."""
        held = self.optimizer.state
        groups = [
            {**{key: value for key, value in group.items() if key != "params"}, "params": places}
            for group, places in zip(self.optimizer.param_groups, self._places(), strict=True)
        ]
        own = {place: self._parameters[place] for place in self._own}
        return {"state": {place: dict(held[p]) for place, p in own.items() if p in held}, "param_groups": groups}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Load what this process owns out of the state of all parameters."""
        number = {place: count for count, place in enumerate(self._own)}
        groups = [
            {**group, "params": [number[place] for place in places if place in number]}
            for group, places in zip(saved["param_groups"], self._places(), strict=True)
        ]
        # Copies: torch would keep the checkpoint's own tensors, which lie in its file.
        state = {
            number[place]: {name: value.clone() for name, value in values.items()}
            for place, values in saved["state"].items()
            if place in number
        }
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _places(self) -> list[list[int]]:
        """Places of every group's parameters among all."""
        ends = np.cumsum(self._sizes).tolist()
        return [list(range(end - size, end)) for end, size in zip(ends, self._sizes, strict=True)]
