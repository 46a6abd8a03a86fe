"""Frames to a CUDA device through pinned memory, so that copying them overlaps with the model's work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

SLOT_BYTES = 64 << 20
"""Size of each of the two pinned slots: ten 1080p frames. Pinned memory can't be swapped, so it is kept small."""


class CudaCopies:
    """Copies to one device in a stream of their own, while the model's stream computes the previous batch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def pinned(self, size: int) -> torch.Tensor:
        """uint8 [size] of host memory that the device reads by itself."""
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        """uint8 memory of the device to copy into. Raises torch.OutOfMemoryError."""
        with torch.cuda.stream(self._stream):  # the allocator then knows whose work may still use the memory
            return torch.empty(shape, dtype=torch.uint8, device=self._device)

    def start(self, target: torch.Tensor, source: torch.Tensor) -> Any:
        """Begin to copy; the result is the argument of `wait`."""
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
            ended = torch.cuda.Event()
            ended.record(self._stream)
        return ended

    def wait(self, copy: Any) -> None:
        """Return when that copy has ended, and its source may be overwritten."""
        copy.synchronize()

    def hand_over(self, target: torch.Tensor) -> None:
        """Make the work that the caller submits from now on wait for all copies into `target`."""
        users = torch.cuda.current_stream(self._device)
        users.wait_stream(self._stream)
        target.record_stream(users)  # not given to another batch before the model has read it


class PinnedStaging:
    """Two pinned slots that take turns: one is filled while the device reads the other; large batches go in parts."""

    def __init__(self, copies: CudaCopies, *, slot_bytes: int = SLOT_BYTES) -> None:
        self._copies = copies
        self._slot_bytes = slot_bytes
        self._slots: list[torch.Tensor | None] = [None, None]
        self._under_way: list[Any] = [None, None]
        self._turn = 0

    def to_device(self, frames: Sequence[npt.NDArray[np.uint8]]) -> torch.Tensor:
        """Frames [H, W, 3] of one size as uint8 [B, H, W, 3] on the device; then they may be overwritten."""
        height, width, channels = frames[0].shape
        size = frames[0].nbytes
        target = self._copies.empty((len(frames), height, width, channels))
        step = max(1, self._slot_bytes // size)
        for first in range(0, len(frames), step):
            some = frames[first : first + step]
            slot = self._free_slot(size)[: len(some) * size].view(len(some), height, width, channels)
            np.stack(some, out=slot.numpy())
            self._under_way[self._turn] = self._copies.start(target[first : first + len(some)], slot)
            self._turn = 1 - self._turn
        self._copies.hand_over(target)
        return target

    def _free_slot(self, frame_bytes: int) -> torch.Tensor:
        """The slot whose turn it is, at least as large as one frame, once the copy out of it has ended."""
        if self._under_way[self._turn] is not None:
            self._copies.wait(self._under_way[self._turn])
            self._under_way[self._turn] = None
        slot = self._slots[self._turn]
        if slot is None or slot.numel() < frame_bytes:
            slot = self._slots[self._turn] = self._copies.pinned(max(self._slot_bytes, frame_bytes))
        return slot


def staging_for(device: torch.device) -> PinnedStaging | None:
    """Staging for a CUDA device; None for the CPU, which reads the frames where they are."""
    return PinnedStaging(CudaCopies(device)) if device.type == "cuda" else None
