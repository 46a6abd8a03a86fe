"""The order of clips and the random numbers of each: pure functions of seed and epoch; nothing to save."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def epoch_order(count: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """A permutation of range(count), the same on every machine for the same seed and epoch."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(count)


def clip_random(*, seed: int, epoch: int, clip: int) -> np.random.Generator:
    """The generator of one clip's random draws, whichever worker loads it and in whatever order."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, clip, 1])))


def batches(order: npt.NDArray[np.int64], batch_size: int, *, skip_batches: int = 0) -> list[list[int]]:
    """`order` cut into batches, the last one possibly smaller, without the first `skip_batches`."""
    cut = [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]
    return cut[skip_batches:]


def rank_batches(
    order: npt.NDArray[np.int64] | Sequence[int], batch_size: int, *, rank: int, world_size: int, skip_batches: int = 0
) -> list[list[int]]:
    """The batches of one of `world_size` ranks, of at most `batch_size` clips each.

    `order` is cut into global batches of batch_size * world_size clips, and each of those into equal consecutive
    parts, one per rank: together the ranks see exactly the batches of one process with the product as batch size, and
    every clip once. The last global batch is dealt out as evenly as it goes; with fewer clips than ranks some get
    an empty list, so that all ranks always make the same number of steps.

    >>> [rank_batches(range(5), 2, rank=rank, world_size=2) for rank in (0, 1)]
    [[[0, 1], [4]], [[2, 3], []]]
    """
    if not 0 <= rank < world_size or batch_size < 1:
        raise ValueError(f"rank {rank} of {world_size} with batches of {batch_size} is not possible")
    whole = batches(np.asarray(order, dtype=np.int64), batch_size * world_size, skip_batches=skip_batches)
    return [np.array_split(np.asarray(batch, dtype=np.int64), world_size)[rank].tolist() for batch in whole]
