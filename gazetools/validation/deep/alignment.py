"""Judge distances between stored samples and decoded frames: aligned, shifted by k, drifting, mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from gazetools.sampling import spread
from gazetools.validation.subject import Floats

Kind = Literal["aligned", "shifted", "transformed", "drifting", "unexplained"]
_RINGS = (2, 4, 8, 16, 32, 64)
_SEARCHED_SAMPLES = 5  # in a search over shifts; more cost time and do not change the verdict


class Evidence(Protocol):
    """Stored samples, each of a stated frame, that can be compared with frames of the video."""

    frames: list[int]
    """Stated decoded frame of each sample, ascending."""
    tolerance: float
    """Distance up to which a sample and a frame agree."""
    noise: float
    """Difference between two distances up to which they count as equal."""
    max_shift: int
    """Frames to search on either side."""

    def distances(self, samples: Sequence[int], shifts: Sequence[int]) -> Floats:
        """[samples, shifts] distance of sample s to the frame `frames[s] + shift`; NaN outside the video."""

    def transformed(self, samples: Sequence[int]) -> dict[str, Floats]:
        """Name of a change (mirrored, ...) -> [samples] distance after undoing it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The explanation of the samples that are off."""

    kind: Kind
    frames: list[int]
    """Frames of the samples that are off; none where aligned."""
    of: int
    """Samples compared."""
    shifts: tuple[int, int] = (0, 0)
    """shifted: the smallest and largest k that fit equally well. drifting: k of the first and of the last sample."""
    change: str = ""
    """transformed: its name."""
    identifiable: bool = True
    """False where neighbouring frames look the same, so that a shift by a few frames could not be seen."""


def judge(evidence: Evidence) -> Verdict:
    """Compare every sample with its frame and that frame's two neighbours; where that fails, look for the reason.

    A sample is off where its frame does not agree within the tolerance, or a neighbour agrees twice as well. All that
    are off are explained together: by a change such as mirroring, one shift k, growing shifts, or not at all.
    """
    count = len(evidence.frames)
    if not count:
        return Verdict(kind="aligned", frames=[], of=0, identifiable=False)
    near = evidence.distances(range(count), (-1, 0, 1))
    here, neighbour = near[:, 1], np.fmin(near[:, 0], near[:, 2])
    neighbour = np.where(np.isnan(neighbour), here, neighbour)
    off = np.flatnonzero(~(here <= evidence.tolerance) | (neighbour + evidence.noise < 0.5 * here))
    if not len(off):
        identifiable = bool(((neighbour - here) > np.maximum(evidence.noise, here)).any())
        return Verdict(kind="aligned", frames=[], of=count, identifiable=identifiable)
    frames = [evidence.frames[i] for i in off]
    searched = off[spread(len(off), _SEARCHED_SAMPLES)].tolist()
    return _explain(evidence, searched, here, frames, count)


def _explain(evidence: Evidence, searched: list[int], here: Floats, frames: list[int], count: int) -> Verdict:
    """Search the `searched` samples for a common shift in growing rings, for a change, then for a drift."""
    shifts: list[int] = []
    table = np.zeros((len(searched), 0))
    # a sample whose own frame is outside the video has no distance to it: anything is better
    own = _middle(np.where(np.isnan(here[searched]), np.inf, here[searched]))
    rings = [ring for ring in _RINGS if ring <= evidence.max_shift] or [evidence.max_shift]
    for ring in rings:
        new = [k for k in range(-ring, ring + 1) if k not in shifts]
        table = np.concatenate([table, evidence.distances(searched, new)], axis=1)
        shifts += new
        if found := _common_shift(evidence, shifts, table, own, edge=ring if ring != rings[-1] else ring + 1):
            return Verdict(kind="shifted", frames=frames, of=count, shifts=found)
        if ring == rings[0]:
            # flipped maps cost no further frame: looked at before the search goes wide
            for name, distances in evidence.transformed(searched).items():
                if _middle(distances) <= evidence.tolerance and _middle(distances) < 0.5 * own:
                    return Verdict(kind="transformed", frames=frames, of=count, change=name)
    filled = np.where(np.isnan(table), np.inf, table)
    if len(searched) > 1 and (filled.min(axis=1) <= evidence.tolerance).all():
        best = np.array(shifts)[filled.argmin(axis=1)]
        # a clock that runs too fast or too slow moves frames ever further in one direction
        if (np.diff(best) >= 0).all() or (np.diff(best) <= 0).all():
            return Verdict(kind="drifting", frames=frames, of=count, shifts=(int(best[0]), int(best[-1])))
    return Verdict(kind="unexplained", frames=frames, of=count)


def _common_shift(
    evidence: Evidence, shifts: list[int], table: Floats, own: float, *, edge: int
) -> tuple[int, int] | None:
    """The one k (or the range of equally good ones) at which the median sample agrees; None where there is none."""
    middle = np.array([_middle(column) for column in table.T])
    best = int(middle.argmin())
    # at the edge of what was searched the minimum may lie further out
    if not middle[best] <= evidence.tolerance or not middle[best] + evidence.noise < 0.5 * own:
        return None
    if abs(shifts[best]) >= edge or shifts[best] == 0:
        return None
    alike = sorted(k for k, value in zip(shifts, middle, strict=True) if value <= middle[best] + evidence.noise)
    return alike[0], alike[-1]


def _middle(distances: Floats) -> float:
    """The lower median of distances; NaN, a frame outside the video, counts as infinite."""
    return float(np.sort(np.where(np.isnan(distances), np.inf, distances))[(len(distances) - 1) // 2])
