"""The order of clips, their random numbers and their partners: pure functions of seed and epoch; nothing to save."""

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


def partners_of(groups: Sequence[str], has_maps: Sequence[bool], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """int64 [n]: for each clip the place of the clip whose heatmaps the control `shuffled` shows it; -1 for none.

    A partner belongs to another group (video or take). Clips without maps get no partner and are not chosen as one, so
    that `shuffled` shows as many maps as the source itself. Where no group holds more than half of the clips, every
    clip is the partner of exactly one; clips of a larger group share those of the others; a single group has none.

    >>> partners_of(["a", "a", "b", "b"], [True] * 4, seed=0, epoch=0).tolist()
    [3, 2, 1, 0]
    """
    partners = np.full(len(groups), -1, dtype=np.int64)
    places = np.flatnonzero(np.asarray(has_maps, dtype=np.bool_))
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, 2])))
    names, numbers, sizes = np.unique(np.asarray(groups)[places], return_inverse=True, return_counts=True)
    if len(names) < 2:
        return partners
    # Groups in random order, clips within each in random order, the largest group first.
    rank = random.permutation(len(names))
    rank[np.argmax(sizes)] = -1
    arranged = places[np.lexsort((random.permutation(len(places)), rank[numbers]))]
    count, largest = len(arranged), int(sizes.max())
    if 2 * largest <= count:
        # A shift of at least the largest group leaves every group, and one of at most the rest does not come back.
        partners[arranged] = np.roll(arranged, -int(random.integers(largest, count - largest + 1)))
        return partners
    others = arranged[largest:]
    partners[others] = arranged[: len(others)]
    partners[arranged[:largest]] = np.resize(others, largest)
    return partners
