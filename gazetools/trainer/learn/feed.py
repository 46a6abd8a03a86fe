"""Batches for this process: the global order cut into steps and sliced by rank, loaded, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from gazetools.schemas.errors import FaultError
from gazetools.schemas.training import TrainingConfig
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

    With `spawn` each would import everything again, for seconds. Plain forks of this process would share its threads
    and its CUDA.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


class LoadedClips(Protocol):
    """What `Loaders` load from, in this process and in workers."""

    epoch: int

    def __getitem__(self, place: int) -> Sample | Unreadable:
        """The clip at a place in this epoch."""
        ...


_Item = tuple[int, int, int]
"""Number of a dataset, epoch, and place of a clip: what a worker needs to know of a clip."""


class _Clips(Dataset["Sample | Unreadable"]):
    """The clips of several datasets, so that the same workers serve training and measurements."""

    def __init__(self, sets: Sequence[LoadedClips]) -> None:
        self.sets = list(sets)

    def __getitem__(self, item: _Item) -> Sample | Unreadable:
        number, epoch, place = item
        self.sets[number].epoch = epoch
        return self.sets[number][place]


class _Chosen:
    """The batches of the pass that comes next, as the loader's sampler."""

    def __init__(self) -> None:
        self.batches: list[list[_Item]] = []

    def __iter__(self) -> Iterator[list[_Item]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Loaders:
    """Loads batches in order, in worker processes that live through epochs and measurements.

    A worker keeps its open videos and frame indexes from one epoch to the next.
    """

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        data = config.experiment.data
        self._workers, self._seed = data.num_workers, config.seed
        self._pin_memory = data.pin_memory and device.type == "cuda"  # elsewhere there is nothing to copy to
        self._sets: list[LoadedClips] = []
        self._chosen = _Chosen()
        self._loader: DataLoader[Any] | None = None

    def add(self, sets: Sequence[LoadedClips]) -> None:
        """Make datasets known; workers that do not know one yet would have to start anew."""
        new = [one for one in sets if not any(one is known for known in self._sets)]
        if new:
            self.close()
            self._sets += new

    def load(self, dataset: LoadedClips, chosen: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """The batches `chosen` in order; empty ones need no loader. A pass ends the one before."""
        self.add([dataset])
        number = next(place for place, one in enumerate(self._sets) if one is dataset)
        items = [[(number, dataset.epoch, place) for place in batch] for batch in chosen if batch]
        self._chosen.batches = items
        if self._loader is None:
            self._loader = self._open()
        loaded = iter(self._loader) if items else iter(())
        for batch in chosen:
            yield next(loaded) if batch else collate([])

    def close(self) -> None:
        """End the workers; the next pass starts others."""
        self._loader = None

    def _open(self) -> DataLoader[Any]:
        return DataLoader(
            _Clips(self._sets),
            batch_sampler=self._chosen,
            num_workers=self._workers,
            collate_fn=collate,
            pin_memory=self._pin_memory,
            # A generator of its own: the global random state must not depend on how often a run was resumed.
            generator=torch.Generator().manual_seed(self._seed),
            multiprocessing_context=_start_workers() if self._workers else None,
            timeout=_WORKER_TIMEOUT_SECONDS if self._workers else 0,
            persistent_workers=self._workers > 0,
        )


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
