"""Communication between the processes of a run; a single process sends nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from gazetools.schemas.errors import FaultError

_TIMEOUT = timedelta(minutes=30)  # for example to decode a long clip; a rank that hangs ends the run


@dataclass(kw_only=True, eq=False)
class World:
    """The processes of a run: `rank` of `size`; rank 0 leads."""

    rank: int = 0
    size: int = 1
    cpu_group: Any = None  # group for numbers and objects on the CPU; None: the default group
    save_group: Any = None  # group of the threads that write checkpoints; None with a single process

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank {self.rank} of {self.size} does not exist")

    @property
    def leads(self) -> bool:
        """Whether this process writes and talks."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes, in float64."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(list(values), dtype=torch.float64)
        parts = [torch.empty_like(total) for _ in range(self.size)]
        with told_as_lost():
            distributed.all_gather(parts, total, group=self.cpu_group)
        # Added in the order of ranks, so that every rank has the same bits.
        return torch.stack(parts).sum(0).tolist()

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        return self.sum([float(flag)])[0] > 0

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes (plain values and CPU tensors) in the order of ranks."""
        if self.size == 1:
            return [value]
        parts: list[Any] = [None] * self.size
        with told_as_lost():
            distributed.all_gather_object(parts, value, group=self.cpu_group)
        return parts

    def gather_saved(self, value: Any) -> list[Any]:
        """As `gather`, for the threads that write a checkpoint while the main threads talk."""
        if self.size == 1:
            return [value]
        parts: list[Any] = [None] * self.size
        with told_as_lost():
            distributed.all_gather_object(parts, value, group=self.save_group)
        return parts

    def barrier(self) -> None:
        """Wait until every process has come here."""
        self.sum([0.0])


@contextmanager
def told_as_lost() -> Iterator[None]:
    """Raise FaultError in place of the error that torch gives where another process does not answer any more."""
    try:
        yield
    except RuntimeError as error:
        first = str(error).split("\n", 1)[0][:200]
        raise FaultError(
            f"Another process of this run is lost: {first}",
            hint="It was killed, or its last lines say why. The same command goes on from the last checkpoint.",
        ) from error


def is_first_process() -> bool:
    """Whether this process is the first of a run, or its only one; known before the processes have joined."""
    return int(os.environ.get("RANK", "0")) == 0


def process_count() -> int:
    """How many processes the run has, known before they have joined."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined_world(device_type: str) -> Iterator[World]:
    """The world that torchrun's environment variables describe; one process alone without them.

    gloo on the CPU; nccl on GPUs, with a gloo group in addition for numbers and objects.
    """
    size = process_count()
    if size == 1:
        yield World()
        return
    rank = int(os.environ["RANK"])
    try:
        distributed.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise FaultError(
            f"Process {rank} of {size} could not join the others: {error}",
            hint="Check MASTER_ADDR, MASTER_PORT and the rendezvous flags.",
        ) from error
    group = distributed.new_group(backend="gloo", timeout=_TIMEOUT) if device_type == "cuda" else None
    # Threads that write talk to each other while the main threads do: only a group of their own keeps messages apart.
    saving = distributed.new_group(backend="gloo", timeout=_TIMEOUT)
    try:
        yield World(rank=rank, size=size, cpu_group=group, save_group=saving)
    finally:
        distributed.destroy_process_group()


def add_trees(trees: Sequence[Any]) -> Any:
    """The sum of nested mappings of numbers and tensors, entry by entry; a missing entry counts as nothing."""
    first = trees[0]
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for tree in trees for key in tree)
        return {key: add_trees([tree[key] for tree in trees if key in tree]) for key in keys}
    if isinstance(first, Tensor):
        return torch.stack(list(trees)).sum(0)
    return sum(trees[1:], start=first)
