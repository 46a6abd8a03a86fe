"""The messages of a training step: one gather for all its numbers, buckets for all gradients and all weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from gazetools.trainer.processes.world import World, told_as_lost

BUCKET_BYTES = 64 * 2**20
"""Numbers that travel in one message. Larger ones save few messages and hold the same memory a second time."""
_ON_THE_WAY = 2  # buckets whose messages may run at the same time: one is filled while the other is summed


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """What all processes know of a step after `agree`."""

    sums: list[int]
    """Sums of the numbers over processes."""
    anywhere: list[bool]
    """Per parameter, whether any process has a gradient for it."""


def agree(world: World, numbers: Sequence[int], parameters: Sequence[nn.Parameter]) -> Agreed:
    """Sum whole numbers over processes and find out which gradients there are, in one gather on the CPU.

    The device is not asked: whether a gradient exists is known to the host.
    """
    present = [parameter.grad is not None for parameter in parameters]
    if world.size == 1:
        return Agreed(sums=list(numbers), anywhere=present)
    head = np.asarray(numbers, dtype=np.int64).view(np.uint8)
    own = torch.from_numpy(np.concatenate([head, np.packbits(np.asarray(present, dtype=np.bool_))]))
    parts = [torch.empty_like(own) for _ in range(world.size)]
    with told_as_lost():
        distributed.all_gather(parts, own, group=world.cpu_group)
    together = torch.stack(parts).numpy()
    sums = np.ascontiguousarray(together[:, : len(head)]).view(np.int64).sum(0)
    flags = np.unpackbits(np.bitwise_or.reduce(together[:, len(head) :], axis=0), count=len(present))
    return Agreed(sums=sums.tolist(), anywhere=flags.astype(bool).tolist())


def sum_tensors(world: World, tensors: Sequence[Tensor], *, bucket_bytes: int = BUCKET_BYTES) -> None:
    """Replace tensors of one device by their sums over processes, which all have them in the same order."""
    if world.size == 1:
        return

    def send(flat: Tensor) -> Any:
        return distributed.all_reduce(flat, async_op=True)

    _in_buckets(tensors, send, bucket_bytes=bucket_bytes, takes=True)


def send_tensors(world: World, owned: Sequence[Sequence[Tensor]], *, bucket_bytes: int = BUCKET_BYTES) -> None:
    """Give every process the tensors of their owners: `owned` has one list per rank, the same in all processes."""
    if world.size == 1:
        return
    for rank, tensors in enumerate(owned):

        def send(flat: Tensor, rank: int = rank) -> Any:
            return distributed.broadcast(flat, src=rank, async_op=True)

        _in_buckets(tensors, send, bucket_bytes=bucket_bytes, takes=rank != world.rank)


def _in_buckets(tensors: Sequence[Tensor], send: Callable[[Tensor], Any], *, bucket_bytes: int, takes: bool) -> None:
    """Send tensors bucket by bucket; with `takes` copy back what comes."""
    running: deque[tuple[Any, Tensor, list[Tensor]]] = deque()

    def finish() -> None:
        work, flat, members = running.popleft()
        work.wait()
        if takes:
            parts = flat.split([member.numel() for member in members])
            for member, part in zip(members, parts, strict=True):
                member.copy_(part.view_as(member))

    with told_as_lost(), torch.no_grad():
        for members in buckets_of(tensors, bucket_bytes=bucket_bytes):
            flat = torch.cat([member.reshape(-1) for member in members])
            running.append((send(flat), flat, members))
            if len(running) == _ON_THE_WAY:
                finish()
        while running:
            finish()


def buckets_of(tensors: Sequence[Tensor], *, bucket_bytes: int = BUCKET_BYTES) -> Iterator[list[Tensor]]:
    """Cut tensors, in their order, into lists of one type and at most `bucket_bytes`; a larger tensor is alone."""
    for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
        members: list[Tensor] = []
        filled = 0
        for tensor in tensors:
            if tensor.dtype != kind:
                continue
            size = tensor.numel() * tensor.element_size()
            if members and filled + size > bucket_bytes:
                yield members
                members, filled = [], 0
            members.append(tensor)
            filled += size
        if members:
            yield members
