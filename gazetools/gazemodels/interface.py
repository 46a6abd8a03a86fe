"""What the pipeline needs of a gaze-target model: nothing but this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

    from gazetools.gazemodels.gazelle.model import GazeOutput
    from gazetools.progress import Progress


class GazeModel(Protocol):
    """Frames and head boxes in, one heatmap per person out. `gazetools.gazemodels.gazelle.GazelleModel` is one."""

    device: torch.device
    dtype: torch.dtype
    weights_sha256: dict[str, str]
    """Role (`checkpoint`, ...) -> hex sha256 of the file; {} for a model without weights."""
    implementation: str
    """Whose code it is, for provenance, such as `gazetools 0.1.0`."""

    @property
    def name(self) -> str: ...

    @property
    def backbone_name(self) -> str: ...

    @property
    def in_size(self) -> tuple[int, int]:
        """(height, width) of `preprocess`'s result."""
        ...

    @property
    def out_size(self) -> tuple[int, int]:
        """(height, width) of a heatmap."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) to which head boxes are rounded; a box without a cell of it is a small head."""
        ...

    @property
    def has_inout(self) -> bool: ...

    @property
    def settings(self) -> dict[str, Any]:
        """Everything beside the weights that shapes its numbers, as JSON values."""
        ...

    def preprocess(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """uint8 RGB [B, H, W, 3] to float32 [B, 3, *in_size]."""
        ...

    def __call__(
        self, images: np.ndarray | torch.Tensor, boxes: Sequence[Sequence[Sequence[float] | None]]
    ) -> GazeOutput:
        """Heatmaps in 0..1 relative to the whole picture, one per person, in the order of images and boxes.

        `images` is uint8 [B, H, W, 3] RGB or the result of `preprocess`; per image a list of boxes (x0, y0, x1, y1)
        in 0..1, None for a person without a known head; a list may be empty. On a CUDA device the pipeline gives
        tensors that lie there, and reads the result only when the next batch has been given: a call that waits for
        the device is right, but slower.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """What the options of `extract` say about the model; a loader refuses what makes no sense for it."""

    name: str
    checkpoint: str | None = None
    backbone: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    preprocess: Literal["exact", "fast"] = "exact"
    progress: Progress | None = None
    """Told of downloads."""


class Loader(Protocol):
    """Makes a model on its device, ready to be called."""

    def __call__(self, settings: LoadSettings) -> GazeModel: ...
