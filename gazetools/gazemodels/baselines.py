"""Two controls without weights, which show what a heatmap is worth that does not depend on the picture."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import torch

from gazetools._version import __version__
from gazetools.gazemodels.devices import resolve_device
from gazetools.gazemodels.gazelle.preprocess import as_tensor, preprocess
from gazetools.gazemodels.gazelle.prompts import check_box
from gazetools.gazemodels.interface import Boxes, GazeOutput, Images, LoadSettings
from gazetools.schemas.errors import UsageError

CENTRE_SIGMA = 0.2
"""Standard deviation of the centre prior in sides of the frame. A choice, not fitted to any data."""
CONE_POWER = 8
"""Power of the cosine: the cone has half its height 23.5 degrees off its axis. A choice, not fitted."""


class _Baseline(abc.ABC):
    """A model whose maps are computed from the boxes alone."""

    dtype = torch.float32
    weights_sha256: dict[str, str] = {}  # noqa: RUF012 - the interface's plain attribute, empty for good
    name: str
    backbone_name = "none"
    in_size = (64, 64)
    out_size = (64, 64)
    grid = (64, 64)
    has_inout = False
    needs_boxes = False
    settings: dict[str, Any]

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.implementation = f"gazetools {__version__}"

    @classmethod
    def load(cls, settings: LoadSettings) -> _Baseline:
        """The model on its device; UsageError where weights are given, since it has none."""
        if settings.checkpoint or settings.backbone:
            hint = "Leave out --checkpoint and --backbone."
            raise UsageError(f"The model {settings.name} has no weights.", hint=hint)
        return cls(resolve_device(settings.device))

    @abc.abstractmethod
    def heatmap(self, box: tuple[float, float, float, float] | None, frame_hw: tuple[int, int]) -> torch.Tensor:
        """float32 [64, 64] in 0..1 for one person."""

    def preprocess(self, images: Images) -> torch.Tensor:
        return preprocess(as_tensor(images).to(self.device), self.in_size)

    def __call__(self, images: Images, boxes: Boxes) -> GazeOutput:
        """One map per person; of the images only the size counts."""
        height, width = images.shape[1:3] if images.shape[-1] == 3 else images.shape[2:]
        people = [(i, None if box is None else check_box(box)) for i, some in enumerate(boxes) for box in some]
        maps = [self.heatmap(box, (int(height), int(width))) for _, box in people]
        return GazeOutput(
            heatmap=torch.stack(maps).to(self.device) if maps else torch.zeros((0, *self.out_size), device=self.device),
            inout=None,
            image_index=torch.tensor([i for i, _ in people], dtype=torch.int64, device=self.device),
        )


class CentrePrior(_Baseline):
    """`centre-prior`: everybody looks at the middle of the frame, a Gaussian of `CENTRE_SIGMA`."""

    name = "centre-prior"
    settings = {"sigma": CENTRE_SIGMA}  # noqa: RUF012 - the interface's plain attribute

    def heatmap(self, box: tuple[float, float, float, float] | None, frame_hw: tuple[int, int]) -> torch.Tensor:
        y, x = _pixel_middles(self.out_size)
        return torch.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / (2 * CENTRE_SIGMA**2))


class HeadDirection(_Baseline):
    """`head-direction`: everybody looks from the head towards the middle of the frame.

    A box has no orientation, so the direction is the one that a camera aimed at the scene makes likely. The map is a
    cone, cos(angle to the axis) ** `CONE_POWER` with angles in the frame's pixels, zero behind the head and in it.
    Without a box, or with the head in the very middle, there is no direction: the centre prior.
    """

    name = "head-direction"
    settings = {"power": CONE_POWER, "sigma": CENTRE_SIGMA}  # noqa: RUF012 - the interface's plain attribute

    def heatmap(self, box: tuple[float, float, float, float] | None, frame_hw: tuple[int, int]) -> torch.Tensor:
        if box is not None:
            head_x, head_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            axis_x, axis_y = (0.5 - head_x) * frame_hw[1], (0.5 - head_y) * frame_hw[0]
            length = float(np.hypot(axis_x, axis_y))
            if length >= 1:  # pixels
                y, x = _pixel_middles(self.out_size)
                to_x, to_y = (x - head_x) * frame_hw[1], (y - head_y) * frame_hw[0]
                distance = torch.hypot(to_x, to_y).clamp_min(1e-6)
                cosine = (to_x * axis_x + to_y * axis_y) / (distance * length)
                cone = cosine.clamp(0, 1) ** CONE_POWER
                in_head = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
                return torch.where(in_head, torch.zeros(()), cone)
        return CentrePrior(self.device).heatmap(box, frame_hw)


def _pixel_middles(size_hw: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(y, x) of every pixel's middle in 0..1, [H, 1] and [1, W]."""
    height, width = size_hw
    return (torch.arange(height)[:, None] + 0.5) / height, (torch.arange(width)[None, :] + 0.5) / width
