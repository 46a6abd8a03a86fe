"""Run the gaze model over batches of frames; halve the batch where memory runs out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from gazetools.extraction.prompts import FramePrompts
from gazetools.gazelle import GazeModel
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

    def __init__(self, model: GazeModel, batch_size: int | Literal["auto"]) -> None:
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
                parts.append(self._forward(images[position:stop], prompts[position:stop]))
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

    def _forward(self, images: list[npt.NDArray[np.uint8]], prompts: list[FramePrompts]) -> BatchResult:
        out = self.model(np.stack(images), [frame.prompt_boxes for frame in prompts])
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
        return json.dumps({**self.describe(), "config": self.model.config.model_dump()}, sort_keys=True)
