"""Run the gaze model over batches of frames; halve the batch where memory runs out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from gazetools.extraction.crops import box_in_crop, crop_around, cut, map_into_frame
from gazetools.extraction.prompts import Box, FramePrompts
from gazetools.gazelle.prompts import box_cells, grow_to_cell, is_empty
from gazetools.gazemodels.interface import GazeTargetModel
from gazetools.schemas.errors import FaultError

_AUTO_BATCH = {"cpu": 4, "cuda": 32}


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """Maps of all people of a batch, in the order of frames and people."""

    heatmap: npt.NDArray[np.float16]
    """[N, H, W] in 0..1."""
    inout: npt.NDArray[np.float32]
    """[N], NaN where the model has none."""


class BatchRunner:
    """A gaze model with the batch size that fits."""

    def __init__(self, model: GazeTargetModel, batch_size: int | Literal["auto"]) -> None:
        self.model = model
        self.batch_size: int = _AUTO_BATCH.get(model.device.type, 4) if batch_size == "auto" else batch_size
        self.fitting_batch_size = self.batch_size
        """What fits now: `batch_size` halved as often as memory ran out."""

    @property
    def heatmap_shape(self) -> tuple[int, int]:
        """(H, W) of a heatmap."""
        return self.model.out_size

    @property
    def grid_hw(self) -> tuple[int, int]:
        """(rows, columns) of the model's patch grid."""
        return self.model.grid

    def run(self, images: list[npt.NDArray[np.uint8]], prompts: list[FramePrompts]) -> BatchResult:
        """Heatmaps of frames that all have people; frames [H, W, 3] of one size.

        Raises FaultError where one frame alone does not fit into memory, or a map is not finite.
        """
        parts = []
        position = 0
        while position < len(images):
            stop = position + self.fitting_batch_size
            try:
                parts.append(self._with_crops(images[position:stop], prompts[position:stop]))
                position = stop
            except torch.OutOfMemoryError as error:
                if self.fitting_batch_size == 1:
                    raise FaultError(
                        f"Out of memory on {self.model.device} with one frame per batch.",
                        hint="Use --dtype bfloat16, a smaller model or another --device.",
                    ) from error
                self.fitting_batch_size //= 2
                torch.cuda.empty_cache()
        return BatchResult(
            heatmap=np.concatenate([part.heatmap for part in parts]),
            inout=np.concatenate([part.inout for part in parts]),
        )

    def _with_crops(self, images: list[npt.NDArray[np.uint8]], prompts: list[FramePrompts]) -> BatchResult:
        """One pass over the frames for all people who fit their grid, further passes over the crops of the others."""
        if not any(frame.small for frame in prompts):
            return self._forward(images, [frame.prompt_boxes for frame in prompts])
        people = [(i, place) for i, frame in enumerate(prompts) for place in range(len(frame.prompt_boxes))]
        small = [(i, place) for i, place in people if place in prompts[i].small]
        others = [(i, place) for i, place in people if place not in prompts[i].small]
        rows: dict[tuple[int, int], tuple[npt.NDArray[np.float16], np.float32]] = {}
        if others:
            boxes: list[list[Box | None]] = [[] for _ in images]
            for i, place in others:
                boxes[i].append(prompts[i].prompt_boxes[place])
            whole = self._forward(images, boxes)
            rows |= dict(zip(others, zip(whole.heatmap, whole.inout, strict=True), strict=True))
        for start in range(0, len(small), len(images)):  # as many crops as frames fit
            some = small[start : start + len(images)]
            cropped = self._forward_crops([(images[i], prompts[i].prompt_boxes[place]) for i, place in some])
            rows |= dict(zip(some, zip(cropped.heatmap, cropped.inout, strict=True), strict=True))
        return BatchResult(
            heatmap=np.stack([rows[person][0] for person in people]),
            inout=np.array([rows[person][1] for person in people], np.float32),
        )

    def _forward_crops(self, heads: list[tuple[npt.NDArray[np.uint8], Box | None]]) -> BatchResult:
        """One person per frame and box, each seen in a crop of its own; maps relative to the whole frame."""
        inputs, boxes, crops = [], [], []
        for rgb, box in heads:
            assert box is not None, "a person with a crop has a box"
            crop = crop_around(box, self.grid_hw, (rgb.shape[0], rgb.shape[1]))
            inside = box_in_crop(box, crop)
            if is_empty(box_cells(inside, self.grid_hw)):  # smaller than even the smallest crop enlarges
                inside = grow_to_cell(inside, self.grid_hw)
            inputs.append(self.model.preprocess(np.ascontiguousarray(cut(rgb, crop))[None]))
            boxes.append([inside])
            crops.append(crop)
        found = self._forward(torch.cat(inputs), boxes)
        maps = [map_into_frame(m.astype(np.float32), crop) for m, crop in zip(found.heatmap, crops, strict=True)]
        return BatchResult(heatmap=np.stack(maps).astype(np.float16), inout=found.inout)

    def _forward(
        self, images: list[npt.NDArray[np.uint8]] | torch.Tensor, boxes: Sequence[Sequence[Box | None]]
    ) -> BatchResult:
        out = self.model(images if isinstance(images, torch.Tensor) else np.stack(images), boxes)
        if not bool(torch.isfinite(out.heatmap).all()):
            raise FaultError(
                f"The model {self.model.name} gave NaN or inf in a heatmap ({self.model.dtype}).",
                hint="Check the weights, or use --dtype float32.",
            )
        heatmap = out.heatmap.to(torch.float16).cpu().numpy()
        inout = (
            np.full(len(heatmap), np.nan, np.float32)
            if out.inout is None
            else out.inout.float().cpu().numpy().astype(np.float32)
        )
        return BatchResult(heatmap=heatmap, inout=inout)

    def describe(self) -> dict[str, Any]:
        """The model's part of the provenance."""
        model = self.model
        return {
            "name": model.name,
            "weights_sha256": model.weights_sha256,
            "backbone": model.backbone_name,
            "in_size": model.in_size,
            "out_size": model.out_size,
            "inout": model.has_inout,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
        }

    def identity(self) -> str:
        """A text that changes whenever the model would compute other numbers."""
        return json.dumps({**self.describe(), "config": self.model.settings}, sort_keys=True)
