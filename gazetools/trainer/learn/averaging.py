"""An exponential moving average of a model's weights, which takes their place while something is measured or kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gazetools.schemas.training_options import EmaSettings


class WeightAverage:
    """The average m of weights w over steps t = 1, 2, ...: m_1 = w_1, then m_t = d_t m_{t-1} + (1 - d_t) w_t.

    d_t = min(decay, (1 + t) / (10 + t)): a short run does not stay at its first weights. The decay is that of
    TensorFlow's `tf.train.ExponentialMovingAverage` with `num_updates`; averaging is Polyak & Juditsky's (1992).
    """

    def __init__(self, settings: EmaSettings, parameters: Sequence[nn.Parameter]) -> None:
        self.decay = settings.decay
        self.parameters = list(parameters)
        self.updates = 0
        self.average: list[Tensor] = []
        """[one per parameter] Empty before the first step; the raw weights while the average is shown."""
        self.shown = False

    @torch.no_grad()
    def update(self, bad: Tensor | None = None) -> None:
        """Take in the weights after a step; where `bad` is 1 the step was not applied, and the average stays.

        `bad` is on the device of the weights and not read here; `forget_update` follows once it was.
        """
        self.updates += 1
        weights = [parameter.detach() for parameter in self.parameters]
        if not self.average:
            self.average = [one.clone() for one in weights]
            return
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        if bad is None:
            torch._foreach_lerp_(self.average, weights, share)
        else:
            by_device = {one.device: (share * (1 - bad)).to(one.device) for one in weights}
            torch._foreach_lerp_(self.average, weights, [by_device[one.device].to(one.dtype) for one in weights])

    def forget_update(self) -> None:
        """Count the last update no more: its step was not applied."""
        self.updates -= 1
        if not self.updates:
            self.average = []

    def exchange(self) -> None:
        """Let weights and average change places; nothing before the first step.

        Storages change hands and nothing is copied, so that tensors that were read before keep their values.
        """
        if not self.average:
            return
        for place, parameter in enumerate(self.parameters):
            parameter.data, self.average[place] = self.average[place], parameter.data
        self.shown = not self.shown

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs; not while the average is shown."""
        return {"updates": self.updates, "average": list(self.average)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load what `state` returned."""
        self.updates = state["updates"]
        pairs = zip(self.parameters, state["average"], strict=False)
        self.average = [value.to(parameter.device).clone() for parameter, value in pairs]


@contextmanager
def shown(averages: Iterable[WeightAverage | None], *, average: bool) -> Iterator[None]:
    """In the block models have their averaged weights (`average`) or the raw ones; before and after what they had."""
    with ExitStack() as undo:
        for one in averages:
            if one is not None and one.shown != average and one.average:
                one.exchange()
                undo.callback(one.exchange)
        yield
