"""Numbers of training steps that stay on the device until those of many steps and models are read at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Unread:
    """Numbers of one model's step that are still on the device."""

    clips: int  # of the step, over all processes
    head: Tensor  # float64 [3]: loss summed over clips and processes, gradient norm, 1 where one is not finite
    losses: Tensor  # float64 [batches] of this process
    judged: list[dict[str, Tensor]]  # batch -> task -> ranks and labels, int64 [2, B]
    jepa: list[Tensor | None]  # batch -> sum of the JEPA loss
    jepa_clips: list[int]

    def tensors(self) -> Iterator[Tensor]:
        """All of them in a fixed order."""
        yield from (self.head, self.losses)
        for judged, jepa in zip(self.judged, self.jepa, strict=True):
            yield from judged.values()
            if jepa is not None:
                yield jepa


def read_together(steps: Sequence[Unread]) -> Iterator[npt.NDArray[np.float64]]:
    """The numbers of several steps, tensor by tensor as `Unread.tensors` has them: the device is waited for once."""
    yield from read_tensors([tensor for step in steps for tensor in step.tensors()])


def read_tensors(tensors: Sequence[Tensor]) -> Iterator[npt.NDArray[np.float64]]:
    """The numbers of tensors in their shapes and order, waiting for the device once.

    Whole numbers must be below 2^53; float32 and narrower keep their value.
    """
    if not tensors:
        return
    flat = torch.cat([tensor.reshape(-1).double() for tensor in tensors]).cpu().numpy()
    ends = np.cumsum([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, np.split(flat, ends[:-1]), strict=True):
        yield part.reshape(tuple(tensor.shape))
