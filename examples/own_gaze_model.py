"""Your own gaze model in the pipeline: python examples/own_gaze_model.py clip.mp4 STORE

The model of this example uses no picture: it predicts for every person the upper left corner. Your model would run a
network. To use it with `gazetools extract --model corner`, worker processes and clusters, put `load` into an installed
package with the entry point `corner = "my_package:load"` of the group `gazetools.gaze_models`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import gazetools
from gazetools.gazemodels import GazeOutput, LoadSettings, register


class Corner:
    """Implements `gazetools.gazemodels.GazeModel`."""

    name, backbone_name, implementation = "corner", "none", "examples/own_gaze_model.py"
    in_size, out_size, grid = (64, 64), (64, 64), (64, 64)  # (height, width)
    has_inout = False
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.weights_sha256: dict[str, str] = {}
        self.settings: dict[str, Any] = {"corner": "upper left"}

    def preprocess(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """uint8 [B, H, W, 3] to float32 [B, 3, 64, 64]."""
        frames = torch.as_tensor(images).permute(0, 3, 1, 2).float() / 255
        return torch.nn.functional.interpolate(frames, self.in_size)

    def __call__(
        self, images: np.ndarray | torch.Tensor, boxes: Sequence[Sequence[Sequence[float] | None]]
    ) -> GazeOutput:
        """One map per person, in the order of images and boxes."""
        image_index = torch.tensor([i for i, people in enumerate(boxes) for _ in people], dtype=torch.int64)
        heatmap = torch.zeros(len(image_index), *self.out_size)
        heatmap[:, :8, :8] = 1.0
        return GazeOutput(heatmap=heatmap, inout=None, image_index=image_index)


def load(settings: LoadSettings) -> Corner:
    """A `Loader`: called with the options that concern the model."""
    return Corner()


def main() -> None:
    register("corner", load)
    report = gazetools.extract(sys.argv[1], sys.argv[2], model="corner", device="cpu")
    for item in report.items:
        print(f"{item.video_id}: {item.status}, {item.rows} maps")


if __name__ == "__main__":
    main()
