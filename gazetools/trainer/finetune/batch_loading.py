"""Items made ahead by worker processes, in their order; which heads are in each step of each epoch."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from gazetools.schemas.errors import GazetoolsError
from gazetools.trainer.data.order import epoch_order
from gazetools.trainer.finetune.batches import BatchMaker, HeadBatch

Item_co = TypeVar("Item_co", covariant=True)


class MakesItems(Protocol[Item_co]):
    """Makes item k; can be sent to another process."""

    def __call__(self, item: int) -> Item_co: ...


class LoadedItems(Generic[Item_co]):
    """Items that `workers` processes make ahead (0: this process makes them).

    The workers live until `close`, so that they start once in a training.
    """

    def __init__(self, make: MakesItems[Item_co], items: Sequence[int], *, workers: int) -> None:
        self._loader: DataLoader[Item_co | GazetoolsError] = DataLoader(
            _Items(make, stop=max(items, default=-1) + 1),
            batch_size=None,
            sampler=items,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
            prefetch_factor=2 if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # its own: the global one must not depend on how often loading begins
        )
        self._open: Iterator[Item_co | GazetoolsError] | None = None

    def __iter__(self) -> Iterator[Item_co]:
        """All items from the first one on. Raises what a worker met, such as VideoError for a damaged picture."""
        self._open = iter(self._loader)
        for found in self._open:
            if isinstance(found, GazetoolsError):
                raise found
            yield found

    def close(self) -> None:
        """End the workers."""
        self._open = None
        self._loader._iterator = None  # persistent workers live as long as this


class _Items(Dataset[Item_co | GazetoolsError]):
    """Item k, or the error that it met: torch would put a traceback into its message."""

    def __init__(self, make: MakesItems[Item_co], *, stop: int) -> None:
        self._make, self._stop = make, stop

    def __len__(self) -> int:
        return self._stop

    def __getitem__(self, item: int) -> Item_co | GazetoolsError:
        try:
            return self._make(item)
        except GazetoolsError as error:
            return error


@dataclass(frozen=True, kw_only=True)
class StepOrder:
    """Which heads are in each step: a permutation of all heads per epoch, cut into batches, the last one smaller.

    Each process takes every `ranks`-th head of a batch, so that the batch does not depend on the number of processes.
    """

    heads: int
    seed: int
    batch_size: int
    parts: int = 1
    rank: int = 0
    ranks: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return -(-self.heads // self.batch_size)

    def places(self, epoch: int, step: int) -> list[list[int]]:
        """Places of this process's heads in a step, in parts; no part where other processes have all of its heads."""
        order = epoch_order(self.heads, seed=self.seed, epoch=epoch)
        own = order[step * self.batch_size : (step + 1) * self.batch_size][self.rank :: self.ranks].tolist()
        size = max(1, -(-len(own) // self.parts))
        return [own[at : at + size] for at in range(0, len(own), size)]


@dataclass(frozen=True, kw_only=True)
class MakesSteps:
    """Makes the batches of step k, counted over all epochs."""

    maker: BatchMaker
    order: StepOrder

    def __call__(self, item: int) -> list[HeadBatch]:
        """One batch per part."""
        epoch, step = divmod(item, self.order.steps_per_epoch)
        return [self.maker.make(places, epoch) for places in self.order.places(epoch, step)]


@dataclass(frozen=True, kw_only=True)
class MakesParts:
    """Makes the batch of the k-th list of places."""

    maker: BatchMaker
    parts: Sequence[Sequence[int]]

    def __call__(self, item: int) -> HeadBatch:
        """The batch, in epoch 0."""
        return self.maker.make(self.parts[item], 0)


def _begin_worker(worker: int) -> None:
    """One thread each; Ctrl-C, which a terminal sends to all processes, is the training process's matter."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
