"""The order of clips and the random numbers of each: pure functions of seed and epoch; nothing to save."""

from __future__ import annotations

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
