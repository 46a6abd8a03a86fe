"""Run the gaze model on batches of frames; halve the batch where memory runs out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch

from gazetools.extraction.model.crops import box_in_crop, cell_weights, crop_around, cut, map_into_frame
from gazetools.extraction.model.staging import staging_for
from gazetools.gazemodels.devices import products_in
from gazetools.gazemodels.gazelle.prompts import BoxXyxy, box_cells, grow_to_cell, is_empty
from gazetools.gazemodels.interface import GazeModel, Images, Pictures, TokenModel, needs_boxes, token_model
from gazetools.heads.prompts import FramePrompts
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.precision import PrecisionChoice

_AUTO_BATCH = {"cpu": 4, "cuda": 32}
_WHOLE: BoxXyxy = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """Maps of all people of a batch, in the order of frames and people."""

    heatmap: npt.NDArray[np.float16]
    """[N, H, W] in 0..1."""
    inout: npt.NDArray[np.float32]
    """[N], NaN where the model has none."""
    tokens: npt.NDArray[np.float16] | None = None
    """[N, G, G, C] scene tokens over the whole frame; None where they are not kept."""


class Pending(Protocol):
    """A batch that the device was given."""

    def result(self) -> BatchResult:
        """Wait for the device. Raises FaultError where a map is not finite."""


class BatchRunner:
    """A gaze model with the batch size that fits.

    Args:
        word: number type as `--dtype` names it; None: the model's.
        precision: the evidence that chose it.
        token_grid: cells per side to which scene tokens are averaged; None: they are not kept. UsageError for a model
            that gives none, or whose grid is coarser.
    """

    def __init__(
        self,
        model: GazeModel,
        batch_size: int | Literal["auto"],
        *,
        word: str | None = None,
        precision: PrecisionChoice | None = None,
        token_grid: int | None = None,
    ) -> None:
        self.model = model
        self.word = word or str(model.dtype).removeprefix("torch.")
        self.precision = precision
        self._token_model = None if token_grid is None else _with_tokens(model, token_grid)
        self.tokens_shape: tuple[int, int, int] | None = None
        """(G, G, C) of kept scene tokens; None: they are not kept."""
        if self._token_model is not None and token_grid is not None:
            self.tokens_shape = token_grid, token_grid, self._token_model.token_channels
        self.batch_size: int = _AUTO_BATCH.get(model.device.type, 4) if batch_size == "auto" else batch_size
        self.fitting_batch_size = self.batch_size
        """`batch_size`, halved each time that memory ran out."""
        self.needs_boxes = needs_boxes(model)
        """Whether people without a head box can't be evaluated."""
        self._staging = staging_for(model.device)

    @property
    def works_in_parallel(self) -> bool:
        """Whether the device still computes when `begin` returns; a CPU has finished by then."""
        return self._staging is not None

    @property
    def peak_device_memory(self) -> int:
        """Bytes of the CUDA device that were held at most; 0 on a CPU."""
        return torch.cuda.max_memory_reserved(self.model.device) if self.model.device.type == "cuda" else 0

    @property
    def heatmap_shape(self) -> tuple[int, int]:
        """(H, W) of a heatmap."""
        return self.model.out_size

    @property
    def grid_hw(self) -> tuple[int, int]:
        """(rows, columns) of the model's patch grid."""
        return self.model.grid

    def begin(self, images: list[npt.NDArray[np.uint8]], prompts: list[FramePrompts]) -> Pending:
        """Submit frames [H, W, 3] of one size, all with people, to the device.

        When this returns, `images` may be overwritten. A CUDA device still computes then: submit the next batch before
        waiting for this one. Raises FaultError where one frame alone does not fit into memory.
        """
        parts: list[Pending] = []
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
                        hint="Use --dtype float16, a smaller model or another --device.",
                    ) from error
                self.fitting_batch_size //= 2
                torch.cuda.empty_cache()
        return _Several(parts, order=slice(None))

    def _with_crops(self, images: list[npt.NDArray[np.uint8]], prompts: list[FramePrompts]) -> Pending:
        """One pass over the frames for heads large enough for the grid, further passes over crops for the others."""
        if not any(frame.small for frame in prompts):
            return self._forward(self._placed(images), [frame.prompt_boxes for frame in prompts])
        people = [(i, place) for i, frame in enumerate(prompts) for place in range(len(frame.prompt_boxes))]
        small = [(i, place) for i, place in people if place in prompts[i].small]
        others = [(i, place) for i, place in people if place not in prompts[i].small]
        passes: list[_Pass] = []
        if others:
            boxes: list[list[BoxXyxy | None]] = [[] for _ in images]
            for i, place in others:
                boxes[i].append(prompts[i].prompt_boxes[place])
            passes.append(self._forward(self._placed(images), boxes))
        for start in range(0, len(small), len(images)):  # as many crops as frames fit
            some = small[start : start + len(images)]
            passes.append(self._forward_crops([(images[i], prompts[i].prompt_boxes[place]) for i, place in some]))
        row = {person: number for number, person in enumerate([*others, *small])}
        return _Several(passes, order=[row[person] for person in people])

    def _forward_crops(self, heads: list[tuple[npt.NDArray[np.uint8], BoxXyxy | None]]) -> _Pass:
        """One person per frame and box, each in a crop of its own; maps relative to the whole frame."""
        pictures, boxes, crops = [], [], []
        for rgb, box in heads:
            assert box is not None, "a person with a crop has a box"
            crop = crop_around(box, self.grid_hw, (rgb.shape[0], rgb.shape[1]))
            inside = box_in_crop(box, crop)
            if not self.needs_boxes and is_empty(
                box_cells(inside, self.grid_hw)
            ):  # smaller than even the smallest crop enlarges
                inside = grow_to_cell(inside, self.grid_hw)
            pictures.append(self._placed([cut(rgb, crop)]))
            boxes.append([inside])
            crops.append(crop)
        if self.needs_boxes:  # it cuts heads from the pixels, so that no result of `preprocess` would do
            shown: Pictures = [picture[0] for picture in pictures]
        else:
            shown = torch.cat([self.model.preprocess(picture) for picture in pictures])
        return self._forward(shown, boxes, crops=crops)

    def _forward(
        self, images: Pictures, boxes: Sequence[Sequence[BoxXyxy | None]], *, crops: Sequence[BoxXyxy] = ()
    ) -> _Pass:
        """Submit one batch of frames or `crops` to the device, in a form that the model takes."""
        shown = cast(Images, images)  # several sizes go only to models that need boxes
        with products_in(self.word, self.model.device):
            out = self._token_model(shown, boxes, tokens=True) if self._token_model else self.model(shown, boxes)
        finite = torch.isfinite(out.heatmap).all()
        inout = None if out.inout is None else out.inout.float()
        tokens = None
        if self.tokens_shape is not None and out.tokens is not None:
            tokens = _over_frames(out.tokens, crops or [_WHOLE] * len(out), self.tokens_shape[0])
            finite = finite & torch.isfinite(tokens).all()
        return _Pass(self.model, finite, out.heatmap.to(torch.float16), inout, tokens=tokens, crops=crops)

    def _placed(self, frames: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8] | torch.Tensor:
        """Frames of one size as one batch: on the CUDA device of the model, or as an array."""
        return np.stack(frames) if self._staging is None else self._staging.to_device(frames)

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
            "dtype": self.word,
            "device": model.device.type,
        }

    def identity(self) -> str:
        """Text that changes whenever the model would compute other numbers."""
        return json.dumps({**self.describe(), "config": self.model.settings}, sort_keys=True)


@dataclass(frozen=True)
class _Pass:
    """One pass of the model, as the tensors that the device computes."""

    model: GazeModel
    finite: torch.Tensor
    heatmap: torch.Tensor
    inout: torch.Tensor | None
    tokens: torch.Tensor | None = None
    """float16 [N, G, G, C], relative to the whole frame."""
    crops: Sequence[BoxXyxy] = ()
    """Part of the frame that each map shows; empty: all maps show whole frames."""

    def result(self) -> BatchResult:
        """Copy the maps from the device, and put those of crops back into their frames."""
        if not bool(self.finite):
            raise FaultError(
                f"The model {self.model.name} gave NaN or inf in a heatmap"
                + ("" if self.tokens is None else " or in scene tokens as float16")
                + f" ({self.model.dtype}).",
                hint="Check the weights, or use --dtype float32.",
            )
        maps = self.heatmap.cpu().numpy()
        inout = np.full(len(maps), np.nan, np.float32) if self.inout is None else self.inout.cpu().numpy()
        if self.crops:
            pairs = zip(maps.astype(np.float32), self.crops, strict=True)
            maps = np.stack([map_into_frame(one, crop) for one, crop in pairs]).astype(np.float16)
        return BatchResult(heatmap=maps, inout=inout, tokens=None if self.tokens is None else self.tokens.cpu().numpy())


@dataclass(frozen=True)
class _Several:
    """The rows of several passes, one after the other, then in `order`."""

    passes: Sequence[Pending]
    order: list[int] | slice

    def result(self) -> BatchResult:
        """Wait for all passes."""
        found = [one.result() for one in self.passes]
        maps, inouts = np.concatenate([one.heatmap for one in found]), np.concatenate([one.inout for one in found])
        tokens = [one.tokens for one in found if one.tokens is not None]
        return BatchResult(
            heatmap=maps[self.order],
            inout=inouts[self.order],
            tokens=np.concatenate(tokens)[self.order] if tokens else None,
        )


def _with_tokens(model: GazeModel, token_grid: int) -> TokenModel:
    """The model, which gives scene tokens; UsageError where it gives none, or none as fine as `token_grid`."""
    able = token_model(model)
    if able is None:
        raise UsageError(
            f"The model {model.name} ({model.implementation}) gives no scene tokens, which --keep tokens asks for.",
            hint="Use a Gaze-LLE model (gazelle_dinov2_*), or leave out --keep tokens.",
        )
    if token_grid > min(model.grid):
        raise UsageError(
            f"--token-grid {token_grid} is finer than the grid of {model.name}, {model.grid[0]} x {model.grid[1]} "
            "cells: averaging can't add detail.",
            hint=f"Use --token-grid {min(model.grid)} or less.",
        )
    return able


def _over_frames(tokens_nrcd: torch.Tensor, crops: Sequence[BoxXyxy], cells: int) -> torch.Tensor:
    """Tokens [N, rows, columns, C] over crops, averaged by area to float16 [N, cells, cells, C] over their frames."""
    grid = (tokens_nrcd.shape[1], tokens_nrcd.shape[2])
    known = {crop: cell_weights(grid, crop, cells) for crop in dict.fromkeys(crops)}
    along_y, along_x = (
        torch.from_numpy(np.stack([known[crop][axis] for crop in crops])).to(tokens_nrcd.device, non_blocking=True)
        for axis in (0, 1)
    )
    averaged = torch.einsum("nyr,nrcd->nycd", along_y, tokens_nrcd.float())
    return torch.einsum("nxc,nycd->nyxd", along_x, averaged).to(torch.float16)
