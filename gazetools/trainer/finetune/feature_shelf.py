"""Files of kept features: read by the workers that make batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gazetools.trainer.finetune.head_sample import HeadSample, Pixels
from gazetools.trainer.finetune.labelled import PicturePlace

CHUNK = 32
"""Pictures in a file."""


class FeatureShelf:
    """Features of whole pictures, and with `mirrored` of their mirror images, in chunks; can be sent to a process.

    File k is a .safetensors with `features` [n or 2n, ...] of the pictures k * CHUNK and following, then those of their
    mirror images, and `sizes_wh` int64 [n, 2].
    """

    def __init__(self, folder: Path, places: Sequence[PicturePlace], *, mirrored: bool) -> None:
        self.folder, self.mirrored = folder, mirrored
        self._number = {place: number for number, place in enumerate(places)}
        self._sizes: dict[int, list[list[int]]] = {}

    def path(self, chunk: int) -> Path:
        """File of a chunk."""
        return self.folder / f"{chunk:06d}.safetensors"

    def missing(self) -> list[int]:
        """Chunks that are not there yet."""
        chunks = -(-len(self._number) // CHUNK)
        return [chunk for chunk in range(chunks) if not self.path(chunk).exists()]

    def read(self, place: PicturePlace, *, mirrored: bool) -> torch.Tensor:
        """Features of a picture or of its mirror image."""
        from safetensors import safe_open

        chunk, row = divmod(self._number[place], CHUNK)
        with safe_open(self.path(chunk), "pt") as file:
            features = file.get_slice("features")
            count = features.get_shape()[0] // (2 if self.mirrored else 1)
            found: torch.Tensor = features[row + count if mirrored else row]
            return found

    def outline(self, place: PicturePlace) -> Pixels:
        """A picture of that picture's size without its pixels and without memory: what augmentations need to decide."""
        from safetensors import safe_open

        chunk, row = divmod(self._number[place], CHUNK)
        if chunk not in self._sizes:
            with safe_open(self.path(chunk), "pt") as file:
                self._sizes[chunk] = file.get_tensor("sizes_wh").tolist()
        width, height = self._sizes[chunk][row]
        return np.broadcast_to(np.zeros(width, np.uint8)[None, :, None], (height, width, 3))


def is_whole(sample: HeadSample, outline: Pixels) -> bool:
    """Whether augmentations of an outline left the picture whole; it may be mirrored."""
    return sample.picture.shape == outline.shape


def is_mirrored(sample: HeadSample) -> bool:
    """Whether augmentations of an outline mirrored it."""
    return sample.picture.strides[1] < 0
