"""Whose heatmaps the control `shuffled` shows a clip: a clip of another video, anew in every epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def partners_of(groups: Sequence[str], has_maps: Sequence[bool], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """int64 [n]: for each clip the place of its partner, of another group (video or take); -1 for none.

    Clips without maps of their own have no partner and are none, so that `shuffled` shows as many maps as the source
    itself. Where no group holds more than half of the clips, everyone is the partner of exactly one: the very same
    maps, each under another video's clip. A larger group's surplus shares the others' clips. Only with a single group
    clips with maps stay alone. The result is a function of the arguments.

    >>> partners_of(["a", "a", "b", "b"], [True] * 4, seed=0, epoch=0).tolist()
    [3, 2, 1, 0]
    """
    partners = np.full(len(groups), -1, dtype=np.int64)
    places = np.flatnonzero(np.asarray(has_maps, dtype=np.bool_))
    if not len(places):
        return partners
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, 2])))
    names, numbers, sizes = np.unique(np.asarray(groups)[places], return_inverse=True, return_counts=True)
    if len(names) == 1:
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
