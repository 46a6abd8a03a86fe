"""Which process holds the optimizer's state of which parameter, where that state is sharded."""

from __future__ import annotations

from collections.abc import Sequence


class Owners:
    """Gives parameters to processes so that all hold about as many numbers, over all models of a run.

    >>> owners = Owners(2)
    >>> owners.assign([6, 1, 4]), owners.assign([5])
    ([0, 1, 1], [1])
    """

    def __init__(self, size: int) -> None:
        self._loads = [0] * size

    def assign(self, counts: Sequence[int]) -> list[int]:
        """The rank of each parameter of a model, given their numbers of values: the largest first, where least is."""
        ranks = [0] * len(counts)
        for place in sorted(range(len(counts)), key=lambda place: -counts[place]):
            rank = min(range(len(self._loads)), key=lambda one: (self._loads[one], one))
            ranks[place] = rank
            self._loads[rank] += counts[place]
        return ranks

    @property
    def largest_share(self) -> int:
        """Values that the process with the most holds."""
        return max(self._loads)
