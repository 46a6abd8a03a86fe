"""A loaded Gaze-LLE model: frames and head boxes in, heatmaps and in/out scores out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import nn

from gazetools._version import __version__
from gazetools.gazemodels.gazelle.decoder import GazeDecoder
from gazetools.gazemodels.gazelle.preprocess import PreprocessKind, as_tensor, check_frames, preprocess
from gazetools.gazemodels.gazelle.prompts import CellsXyxy, box_cells, check_box, head_maps
from gazetools.gazemodels.gazelle.variants import PromptedConfig
from gazetools.gazemodels.interface import Boxes, GazeOutput, Images
from gazetools.schemas.errors import UsageError


class PictureBackbone(Protocol):
    """What a backbone has beyond `nn.Module`."""

    def features(self, images_bchw: torch.Tensor) -> torch.Tensor:
        """Features [B, C, rows, columns] of preprocessed images."""


class GazelleModel:
    """Gaze-LLE for inference; `gazetools.load_model` makes it. The attributes are those of `GazeModel`.

    The backbone runs once per image that has people, the decoder once for all people of the batch.
    """

    needs_boxes = False

    def __init__(
        self,
        config: PromptedConfig,
        backbone: nn.Module,
        decoder: GazeDecoder,
        *,
        weights_sha256: dict[str, str],
        device: torch.device,
        dtype: torch.dtype,
        preprocess_kind: PreprocessKind = "exact",
    ) -> None:
        self.config = config
        self.name, self.backbone_name = config.name, config.backbone.name
        self.in_size: tuple[int, int] = config.in_size
        self.out_size: tuple[int, int] = config.out_size
        self.grid = config.grid
        self.has_inout = config.inout
        self.token_channels: int | None = config.dim
        self.settings: dict[str, Any] = config.model_dump()
        self.backbone = backbone.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.decoder = decoder.to(device).to_dtype(dtype).eval().requires_grad_(False)
        self.weights_sha256, self.device, self.dtype = weights_sha256, device, dtype
        self.preprocess_kind: PreprocessKind = preprocess_kind
        self.implementation = f"gazetools {__version__}"

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"GazelleModel({self.name}, in_size={self.in_size}, device={self.device}, dtype={dtype})"

    def head_cells(self, box: Sequence[float]) -> CellsXyxy:
        """The half-open cell ranges (x0, y0, x1, y1) that `box` marks, empty for no prompt; errors as `check_box`."""
        return box_cells(check_box(box), self.grid)

    @torch.inference_mode()
    def preprocess(self, images: Images) -> torch.Tensor:
        """uint8 RGB frames [B, H, W, 3] to model input: float32 [B, 3, *in_size] on the model's device."""
        frames = as_tensor(images).to(self.device)
        return preprocess(frames, self.in_size, kind=self.preprocess_kind, normalised=self.config.normalised)

    @torch.inference_mode()
    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        """Backbone features [B, C, rows, columns] of preprocessed images [B, 3, *in_size]."""
        return cast(PictureBackbone, self.backbone).features(inputs.to(self.device, self.dtype))

    @torch.inference_mode()
    def decode(
        self, features: torch.Tensor, image_index: torch.Tensor, head_maps_nhw: torch.Tensor, *, tokens: bool = False
    ) -> GazeOutput:
        """Heatmaps, and scene tokens if asked, for people with head maps [N, rows, columns] in images of `features`."""
        image_index, head_maps_nhw = self._soon(image_index), self._soon(head_maps_nhw).to(self.dtype)
        heatmap, inout, cells = self.decoder.with_tokens(features, image_index, head_maps_nhw)
        return GazeOutput(heatmap, inout, image_index, cells if tokens else None)

    @torch.inference_mode()
    def __call__(self, images: Images, boxes: Boxes, *, tokens: bool = False) -> GazeOutput:
        """Heatmaps of where each person looks.

        Args:
            images: uint8 [B, H, W, 3] RGB of any size (numpy or torch), or float [B, 3, *in_size], preprocessed.
            boxes: for each image a list, maybe empty, of head boxes (x0, y0, x1, y1) as fractions of the frame, or None
                for a person without a known head. A box is cut at the frame's edge; one without cells acts as None.
            tokens: whether the output has the scene tokens, too: some 1 MB a person.

        Raises UsageError for images of another shape or type, or a box that is swapped, NaN or in pixels.
        """
        frames = as_tensor(images)
        if len(boxes) != len(frames):
            raise UsageError(f"There are {len(frames)} images and {len(boxes)} lists of boxes; one list per image.")
        people = [
            (image, None if box is None else check_box(box, where=f"boxes[{image}][{person}]"))
            for image, some in enumerate(boxes)
            for person, box in enumerate(some)
        ]
        if not frames.is_floating_point():
            check_frames(frames)
        elif tuple(frames.shape[1:]) != (3, *self.in_size):
            raise UsageError(
                f"Float images must be preprocessed, [B, 3, {self.in_size[0]}, {self.in_size[1]}], "
                f"not {list(frames.shape)}.",
                hint="Give uint8 [B, H, W, 3] frames, or call model.preprocess first.",
            )
        used = sorted({image for image, _ in people})
        if not used:
            return GazeOutput(
                heatmap=torch.empty((0, *self.out_size), device=self.device),
                inout=torch.empty(0, device=self.device) if self.has_inout else None,
                image_index=torch.empty(0, dtype=torch.int64, device=self.device),
                tokens=torch.empty((0, *self.grid, self.config.dim), device=self.device) if tokens else None,
            )
        if len(used) < len(frames):
            frames = frames[torch.tensor(used).to(frames.device, non_blocking=True)]
        inputs = frames if frames.is_floating_point() else self.preprocess(frames)
        row_of_image = {image: row for row, image in enumerate(used)}
        feature_index = torch.tensor([row_of_image[image] for image, _ in people])
        maps = head_maps([box for _, box in people], self.grid)
        out = self.decode(self.encode(inputs), feature_index, maps, tokens=tokens)
        index = self._soon(torch.tensor([image for image, _ in people]))
        return GazeOutput(out.heatmap, out.inout, index, out.tokens)

    def _soon(self, small: torch.Tensor) -> torch.Tensor:
        """Copy a small tensor to the device without waiting for the work that the device is doing."""
        return small.to(self.device, non_blocking=True)
