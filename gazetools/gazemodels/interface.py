"""What the pipeline needs of a gaze model, and what a gaze model receives; imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    import numpy as np
    import torch

    from gazetools.progress import Progress

Images: TypeAlias = "np.ndarray | torch.Tensor"
Pictures: TypeAlias = "Images | Sequence[Images]"
"""uint8 RGB frames [B, H, W, 3], or several [H, W, 3] of their own sizes."""
Boxes: TypeAlias = Sequence[Sequence[Sequence[float] | None]]
"""Per image a list of boxes (x0, y0, x1, y1) in 0..1, None for a person without a known head; a list may be empty."""


@dataclass(frozen=True)
class GazeOutput:
    """One row per person, in the order of the images and of the boxes in each; tensors on the model's device."""

    heatmap: torch.Tensor
    """float32 [N, h, w] in 0..1, relative to the whole frame."""
    inout: torch.Tensor | None
    """float32 [N], probability that the gaze target is inside the frame; None where the model has no such head."""
    image_index: torch.Tensor
    """int64 [N], the image that each row belongs to."""
    tokens: torch.Tensor | None = None
    """float [N, rows, columns, C] over `grid`: what the heatmap is computed from; None: not asked for."""

    def __post_init__(self) -> None:
        n = len(self.image_index)
        if self.heatmap.ndim != 3 or len(self.heatmap) != n or (self.inout is not None and self.inout.shape != (n,)):
            raise AssertionError(f"rows differ: {self.heatmap.shape}, {self.inout}, {self.image_index.shape}")
        if self.tokens is not None and (self.tokens.ndim != 4 or len(self.tokens) != n):
            raise AssertionError(f"rows differ: tokens {self.tokens.shape}, {self.image_index.shape}")

    def __len__(self) -> int:
        return len(self.image_index)


class GazeModel(Protocol):
    """Frames and head boxes in, one heatmap per person out. `GazelleModel` of Gaze-LLE is one.

    A `TokenModel` can also give the scene tokens that its heatmaps are computed from.
    """

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

    @property
    def out_size(self) -> tuple[int, int]:
        """(height, width) of a heatmap."""

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) to which head boxes are rounded; a box without a cell of it is a small head."""

    @property
    def has_inout(self) -> bool: ...

    @property
    def needs_boxes(self) -> bool:
        """Whether it sees a crop of each head, so that it can't evaluate a person without a box.

        The pipeline then passes uint8 frames at full resolution, perhaps several of their own sizes, never the result
        of `preprocess`; every box holds a pixel of its frame; and a small head stays as it is instead of growing to a
        cell. A model of another package that lacks this attribute counts as False.
        """

    @property
    def settings(self) -> dict[str, Any]:
        """Everything except the weights that shapes its numbers, as JSON values."""

    def preprocess(self, images: Images) -> torch.Tensor:
        """Turn uint8 RGB frames [B, H, W, 3] into model input, float32 [B, 3, *in_size] on the model's device."""

    def __call__(self, images: Images, boxes: Boxes) -> GazeOutput:
        """Heatmaps in 0..1 relative to the whole picture, one per person, in the order of images and boxes.

        `images` is uint8 [B, H, W, 3] RGB or the result of `preprocess`. On a CUDA device the pipeline passes tensors
        that lie there, and reads the result only after it has submitted the next batch: a call that waits for the
        device is right, but slower.
        """


class TokenModel(GazeModel, Protocol):
    """A gaze model that gives scene tokens with its heatmaps where it is asked for them."""

    token_channels: int
    """C of `GazeOutput.tokens`."""

    def __call__(self, images: Images, boxes: Boxes, *, tokens: bool = False) -> GazeOutput:
        """As `GazeModel`; with `tokens` the output has them, too."""


def token_model(model: GazeModel) -> TokenModel | None:
    """The same model where it can give scene tokens, which `token_channels` tells; else None."""
    return cast("TokenModel", model) if getattr(model, "token_channels", None) is not None else None


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """What the options of `extract` say about the model; a loader refuses what makes no sense for it."""

    name: str
    checkpoint: str | None = None
    backbone: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    preprocess: Literal["exact", "fast"] = "exact"
    pack: Literal["auto", "off"] = "auto"
    """`off`: layers stay as they are, so that they can be traced."""
    progress: Progress | None = None
    """Shows downloads."""


Loader: TypeAlias = Callable[[LoadSettings], GazeModel]
"""Makes a model on its device, ready to be called."""

Backend: TypeAlias = Callable[[LoadSettings, Loader], GazeModel]
"""Makes a model that another program computes; receives also the loader that would make it here."""


def needs_boxes(model: GazeModel) -> bool:
    """`model.needs_boxes`, False for a model of another package that was written before there was such a thing."""
    return bool(getattr(model, "needs_boxes", False))
