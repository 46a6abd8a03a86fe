"""People in one frame: all pairs, who looks at whom, and whether two share a target.

Looking at a head: the gaze target lies in the other's head box, as in ChildPlay (Tafasca et al., ICCV 2023) and social
gaze prediction (Gupta et al., NeurIPS 2024). Mutual: both at the same time, "looking at each other" (Marin-Jimenez et
al., IJCV 2014 and CVPR 2019). Shared target: two people look at one place (Fan et al., CVPR 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All ordered pairs of different people in the same frame."""

    looker: Ints
    """[p] place of the person who looks, among the people; pairs are in the order of (looker, other)."""
    other: Ints
    """[p]"""
    back: Ints
    """[p] place of the pair with both exchanged: `looker[back] == other`."""

    def __len__(self) -> int:
        return len(self.looker)


def pairs_within(frame: Ints) -> Pairs:
    """The pairs of n people whose frames [n] are ascending.

    >>> pairs = pairs_within(np.array([3, 3, 8]))
    >>> pairs.looker, pairs.other, pairs.back
    (array([0, 1]), array([1, 0]), array([1, 0]))
    """
    first, count = (np.searchsorted(frame, frame, side=side) for side in ("left", "right"))
    count = count - first
    begin = np.cumsum(count) - count  # place of each person's pairs, the one with themselves among them
    looker = np.repeat(np.arange(len(frame)), count)
    other = np.arange(len(looker)) - np.repeat(begin - first, count)
    back = begin[other] + looker - first[other]
    kept = looker != other
    place = np.cumsum(kept) - 1
    return Pairs(looker=looker[kept], other=other[kept], back=place[back[kept]])


def in_boxes(points_xy: Floats, boxes: Floats) -> Flags:
    """Whether points [p, 2] lie in boxes [p, 4] (left and upper edge included, the others not); NaN does not."""
    return np.asarray((points_xy >= boxes[:, :2]).all(axis=1) & (points_xy < boxes[:, 2:]).all(axis=1), dtype=np.bool_)


def inside_frame(inout: Floats, least: float) -> Flags:
    """Whether the targets count as inside the frame: probability [n] of at least `least`, or unknown (NaN)."""
    return np.asarray(np.isnan(inout) | (inout >= least), dtype=np.bool_)


def looks_at(peak_on_head: Flags, mass_on_head: Floats, inside: Flags, *, least_mass: float) -> Flags:
    """Whether a person looks at another's head [p]: peak in the box, mass of at least `least_mass`, target inside."""
    with np.errstate(invalid="ignore"):
        return peak_on_head & inside & (mass_on_head >= least_mass)


def shares_target(distance: Floats, inside: Flags, back: Ints, *, most_distance: float) -> Flags:
    """Whether both of a pair [p] look at one place: both inside, peaks at most `most_distance` apart; NaN does not."""
    with np.errstate(invalid="ignore"):
        return inside & inside[back] & (distance <= most_distance)
