"""Batches for this process: the global order cut into steps, every step sliced by rank."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from gazetools.trainer.data.clips import Batch, ClipDataset, collate
from gazetools.trainer.data.order import batches
from gazetools.trainer.processes.world import World

_WORKER_TIMEOUT_SECONDS = 600


def training_steps(
    order: npt.NDArray[np.int64], *, batch_size: int, accumulation: int, world: World, skip_steps: int = 0
) -> list[list[list[int]]]:
    """Steps of `accumulation` batches for this rank; batches may be empty, so that every rank has as many.

    A step of two processes has the clips that a step of one process with the doubled batch has.
    """
    own = batch_size * accumulation
    steps = batches(order, own * world.size, skip_batches=skip_steps)
    return [
        [
            step[first : first + batch_size]
            for first in range(world.rank * own, (world.rank + 1) * own, batch_size)
        ]
        for step in steps
    ]  # fmt: skip


def validation_batches(order: npt.NDArray[np.int64], *, batch_size: int, world: World) -> list[list[int]]:
    """Whole batches dealt to the ranks in turn: every clip once, in the same batches on any number of processes."""
    return batches(order, batch_size)[world.rank :: world.size]


@lru_cache(maxsize=1)
def _start_workers() -> BaseContext:
    """How workers begin: from one clean process that has imported torch and the decoder already, so in a blink.

    They are started anew for every epoch and measurement; each would import everything again with `spawn`, for seconds.
    Plain forks of this process would share its threads and its CUDA.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def load(
    dataset: ClipDataset, chosen: list[list[int]], *, workers: int, seed: int, pin_memory: bool
) -> Iterator[Batch]:
    """The batches `chosen`, in order; empty ones without asking the loader.

    Args:
        pin_memory: in page-locked memory; needs CUDA.
    """
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=[batch for batch in chosen if batch],
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        # A generator of its own: the global random state must not depend on how often a run was resumed.
        generator=torch.Generator().manual_seed(seed),
        multiprocessing_context=_start_workers() if workers else None,
        timeout=_WORKER_TIMEOUT_SECONDS if workers else 0,
    )
    loaded = iter(loader)
    for batch in chosen:
        yield next(loaded) if batch else collate([])
