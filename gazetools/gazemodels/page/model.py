"""A loaded PaGE model: frames and head boxes in, heatmaps and in/out scores out."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from gazetools._version import __version__
from gazetools.gazemodels.gazelle.preprocess import PreprocessKind
from gazetools.gazemodels.gazelle.prompts import BoxXyxy
from gazetools.gazemodels.head_crops import PixelBox, relative
from gazetools.gazemodels.interface import Boxes, GazeOutput, Pictures
from gazetools.gazemodels.page.config import PageConfig
from gazetools.gazemodels.page.decoder import PageDecoder, head_rects
from gazetools.gazemodels.page.preprocess import as_pictures, head_input, pixel_box, scene_input
from gazetools.gazemodels.vit.image import ImageTower
from gazetools.schemas.errors import UsageError

T = TypeVar("T")
_AT_ONCE = {"cpu": 4, "cuda": 64}
"""Frames, and people, in one pass, by kind of device: what bounds memory. On a CPU larger passes are not faster."""


class PageModel:
    """PaGE for inference; the attributes are those of `GazeModel`.

    Scene tower and the scene's own block run once per frame that has people, everything else once per person, people
    of all frames together.
    """

    needs_boxes = True
    """Frames are passed as uint8 pixels, and people without a box are not passed."""

    def __init__(
        self,
        config: PageConfig,
        towers: tuple[ImageTower, ImageTower],
        decoder: PageDecoder,
        *,
        weights_sha256: dict[str, str],
        device: torch.device,
        dtype: torch.dtype,
        preprocess_kind: PreprocessKind = "exact",
    ) -> None:
        """`towers` are those of scene and head."""
        self.config = config
        self.name = config.name
        self.backbone_name = f"DINOv3 {config.tower.hidden_size}x{config.tower.num_hidden_layers}, scene and head"
        self.in_size: tuple[int, int] = config.scene_in_size
        self.out_size: tuple[int, int] = config.out_size
        self.grid = config.grid
        self.has_inout = config.inout
        self.settings: dict[str, Any] = config.model_dump()
        self.scene_tower, self.head_tower = (
            tower.to(device=device, dtype=dtype).eval().requires_grad_(False) for tower in towers
        )
        self.decoder = decoder.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.weights_sha256, self.device, self.dtype = weights_sha256, device, dtype
        self.preprocess_kind: PreprocessKind = preprocess_kind
        self.implementation = f"gazetools {__version__}"

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"PageModel({self.name}, in_size={self.in_size}, device={self.device}, dtype={dtype})"

    @torch.inference_mode()
    def preprocess(self, images: Pictures) -> torch.Tensor:
        """uint8 RGB frames to the scene tower's input, float32 [B, 3, *in_size]; calls take frames, not this."""
        return scene_input(as_pictures(images), self.in_size, self.device, self.preprocess_kind)

    @torch.inference_mode()
    def encode_scenes(self, inputs: torch.Tensor) -> torch.Tensor:
        """Preprocessed frames [B, 3, *scene_in_size] to tokens after the scene's own block, [B, T, D]."""
        features = self.scene_tower(inputs.to(self.device, self.dtype))
        tokens: torch.Tensor = self.decoder.scene_self(self.decoder.scene_tokens(features))
        return tokens

    @torch.inference_mode()
    def encode_heads(self, inputs: torch.Tensor) -> torch.Tensor:
        """Preprocessed head crops [N, 3, *head_in_size] to tokens after the head's own block, [N, T', D]."""
        features = self.head_tower(inputs.to(self.device, self.dtype))
        tokens: torch.Tensor = self.decoder.head_self(self.decoder.head_tokens(features))
        return tokens

    @torch.inference_mode()
    def decode(
        self, scenes: torch.Tensor, heads: torch.Tensor, image_index: torch.Tensor, boxes: list[BoxXyxy]
    ) -> GazeOutput:
        """Heatmaps of people with `heads` [N, T', D] and `boxes` in 0..1, in the frames `image_index` of `scenes`."""
        rects = head_rects(boxes, self.grid).to(self.device, non_blocking=True)
        index = image_index.to(self.device, non_blocking=True)
        scene, head = self.decoder.interact(scenes[index], heads, rects)
        inout = self.decoder.inout_logits(scene, head)
        heatmap = torch.sigmoid(self.decoder.heatmap_logits(scene))
        return GazeOutput(heatmap, None if inout is None else torch.sigmoid(inout), index)

    @torch.inference_mode()
    def __call__(self, images: Pictures, boxes: Boxes) -> GazeOutput:
        """Heatmaps of where each person looks.

        Args:
            images: uint8 [B, H, W, 3] RGB of any size (numpy or torch), or several [H, W, 3] of their own sizes.
            boxes: for each image a list, maybe empty, of head boxes (x0, y0, x1, y1) as fractions of the frame.

        Raises UsageError for floats, for images of another shape, for a person without a box, and for a box that is
        swapped, NaN, in pixels, outside the frame or without a whole pixel.
        """
        frames = as_pictures(images)
        if len(boxes) != len(frames):
            raise UsageError(f"There are {len(frames)} images and {len(boxes)} lists of boxes; one list per image.")
        sizes = [(int(frame.shape[1]), int(frame.shape[2])) for frame in frames]
        people: list[tuple[int, PixelBox]] = [
            (image, pixel_box(box, sizes[image], where=f"boxes[{image}][{person}]"))
            for image, some in enumerate(boxes)
            for person, box in enumerate(some)
        ]
        image_index = torch.tensor([image for image, _ in people], dtype=torch.int64)
        if not people:
            return GazeOutput(
                heatmap=torch.empty((0, *self.out_size), device=self.device),
                inout=torch.empty(0, device=self.device) if self.has_inout else None,
                image_index=image_index.to(self.device),
            )
        used = sorted({image for image, _ in people})
        row_of_image = {image: row for row, image in enumerate(used)}
        step = _AT_ONCE.get(self.device.type, 4)
        scenes = torch.cat(
            [
                self.encode_scenes(
                    scene_input([frames[i] for i in some], self.in_size, self.device, self.preprocess_kind)
                )
                for some in _runs(used, step)
            ]
        )
        parts = [self._people(frames, sizes, some, scenes, row_of_image) for some in _runs(people, step)]
        inouts = [part.inout for part in parts if part.inout is not None]
        return GazeOutput(
            heatmap=torch.cat([part.heatmap for part in parts]),
            inout=torch.cat(inouts) if self.has_inout else None,
            image_index=image_index.to(self.device, non_blocking=True),
        )

    def _people(
        self,
        frames: list[torch.Tensor],
        sizes: list[tuple[int, int]],
        people: list[tuple[int, PixelBox]],
        scenes: torch.Tensor,
        row_of_image: dict[int, int],
    ) -> GazeOutput:
        """One pass over some people (image, box), given the tokens of their frames."""
        kind, size = self.preprocess_kind, self.config.head_in_size
        crops = torch.cat([head_input(frames[image], [box], size, self.device, kind) for image, box in people])
        rows = torch.tensor([row_of_image[image] for image, _ in people])
        return self.decode(scenes, self.encode_heads(crops), rows, [relative(box, sizes[i]) for i, box in people])


def _runs(items: list[T], length: int) -> list[list[T]]:
    """The list in parts of at most `length`."""
    return [items[start : start + length] for start in range(0, len(items), length)]
