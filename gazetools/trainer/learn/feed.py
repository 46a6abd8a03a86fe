"""Batches for this process: the global order cut into steps and sliced by rank, loaded, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from gazetools.schemas.errors import FaultError
from gazetools.trainer.data.batch import Batch, Sample, Unreadable, collate
from gazetools.trainer.data.order import batches
from gazetools.trainer.processes.world import World

_WORKER_TIMEOUT_SECONDS = 600


def training_steps(
    order: npt.NDArray[np.int64], *, batch_size: int, accumulation: int, world: World, skip_steps: int = 0
) -> list[list[list[int]]]:
    """Steps of `accumulation` batches for this rank; batches may be empty, so that every rank has as many.

    A step of two processes has the clips of a step of one process with the doubled batch.
    """
    own = batch_size * accumulation
    firsts = range(world.rank * own, (world.rank + 1) * own, batch_size)
    steps = batches(order, own * world.size, skip_batches=skip_steps)
    return [[step[first : first + batch_size] for first in firsts] for step in steps]


def validation_batches(order: npt.NDArray[np.int64], *, batch_size: int, world: World) -> list[list[int]]:
    """Whole batches for this rank, in turn: every clip once, in the same batches on any number of processes."""
    return batches(order, batch_size)[world.rank :: world.size]


@lru_cache(maxsize=1)
def _start_workers() -> BaseContext:
    """Start method of worker processes: forks of one clean process that has imported torch and the decoder.

    Workers start anew for every epoch and measurement; with `spawn` each would import everything again, for seconds.
    Plain forks of this process would share its threads and its CUDA.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def load(
    dataset: Dataset[Sample | Unreadable], chosen: list[list[int]], *, workers: int, seed: int, pin_memory: bool
) -> Iterator[Batch]:
    """Load the batches `chosen` in order; empty ones need no loader. `pin_memory` (page-locked) needs CUDA."""
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


def count_batch(batch: Batch, counts: dict[str, int], say: Callable[[str], None]) -> None:
    """Add a batch's counts to `counts` and say which clips could not be read."""
    for name, value in {**batch.counts, "unreadable": len(batch.unreadable)}.items():
        counts[name] = counts.get(name, 0) + value
    for clip in batch.unreadable:
        say(f"Unreadable clip: video {clip.video_id!r}, CSV line {clip.row}: {clip.reason}")


@contextmanager
def explained_out_of_memory(where: str, clips: int) -> Iterator[None]:
    """Raise FaultError with what to change in place of torch's error; `where` is such as `in step 3`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FaultError(
            f"Out of memory {where} with batches of {clips} clips: {str(error)[:200]}",
            hint="Halve experiment.optimization.batch_size and double accumulation_steps (the same gradient), "
            "or set use_activation_checkpointing under pretrain_kwargs.predictor, dtype: bfloat16 under "
            "encoder, or fewer arms.",
        ) from error
