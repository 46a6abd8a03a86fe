"""Distances of samples to the frames around them, looked up as far as an explanation needs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from gazetools.validation.subject import Floats

_ALIKE = 1.25
"""A frame fits about as well as the best one up to this factor: re-encoding and other devices move distances so."""
_OF_LEVEL, _LEVELS = 0.5, 3.0
"""Noise, and what still fits, in distances at the best frames: re-encoding at CRF 32 gives 0.5 to 0.9 grey levels."""
_STEP = 2  # frames looked further on where the best so far is the outermost


class Evidence(Protocol):
    """Stored samples, each of a stated frame, that can be compared with frames of the video."""

    frames: list[int]
    """Stated decoded frame of each sample; the first ones ascend, those of `between` are appended."""
    frame_count: int
    """Decoded frames of the video; a stated frame may lie outside."""
    tolerance: float
    """Distance up to which a sample and a frame agree."""
    noise: float
    """Difference between two distances up to which they count as equal."""
    max_shift: int
    """Frames to search on either side."""

    @property
    def spent(self) -> int:
        """Frames of the video that were looked at so far."""

    def distances(self, samples: Sequence[int], shifts: Sequence[int]) -> Floats:
        """[samples, shifts] distance of sample s to the frame `frames[s] + shift`; NaN outside the video."""

    def transformed(self, samples: Sequence[int]) -> dict[str, Floats]:
        """Name of a change (mirrored, ...) -> [samples] distance after undoing it."""

    def between(self, low: int, high: int) -> int | None:
        """Add the sample nearest to the middle of the frames low < frame < high; its number, or None without one."""


class Curves:
    """What is known of each sample: its distance to the frame k further on, for the k that were looked at."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.noise, self.limit = evidence.noise, evidence.tolerance
        """As the evidence states them, until `calibrate`."""
        self._known: dict[int, dict[int, float]] = {}

    def calibrate(self, samples: Iterable[int]) -> None:
        """Set noise and limit by how well the samples fit where they fit best.

        Equal pixels and weights give 0 there, so that a frame that only resembles the sample does not fit; another
        encoding or device gives more, and moves all distances by about so much.
        """
        bests = [self.at(s, k) for s in samples if (k := self.best(s)) is not None]
        agreeing = [d for d in bests if d <= self.evidence.tolerance]
        level = float(np.median(agreeing)) if agreeing else 0.0
        self.noise = max(self.evidence.noise, _OF_LEVEL * level)
        self.limit = min(self.evidence.tolerance, _LEVELS * level + 2 * self.noise)

    def look(self, samples: Iterable[int], shifts: Iterable[int]) -> None:
        """Look up the distances of samples at shifts that are not known yet."""
        wanted = list(dict.fromkeys(shifts))
        groups: dict[tuple[int, ...], list[int]] = {}
        for sample in samples:
            known = self._known.setdefault(sample, {})
            if new := tuple(k for k in wanted if k not in known):
                groups.setdefault(new, []).append(sample)
        for new, members in groups.items():
            table = self.evidence.distances(members, new)
            for sample, row in zip(members, table, strict=True):
                self._known[sample].update(zip(new, row.tolist(), strict=True))

    def settle(self, sample: int) -> None:
        """Look further on as long as the best k is the outermost of those next to it that are known."""
        while (best := self.best(sample)) is not None and abs(best) <= self.evidence.max_shift:
            around = range(best - _STEP, best + _STEP + 1)
            if all(k in self._known[sample] for k in around):
                return
            self.look([sample], around)

    def at(self, sample: int, shift: int) -> float:
        """The distance at a known k; NaN outside the video or where unknown."""
        return self._known.get(sample, {}).get(shift, np.nan)

    def best(self, sample: int) -> int | None:
        """The known k of the smallest distance; None where all are outside the video."""
        known = {k: d for k, d in self._known.get(sample, {}).items() if not np.isnan(d)}
        return min(known, key=lambda k: (known[k], abs(k))) if known else None

    def is_sharp(self, sample: int, clear: float) -> bool:
        """Whether any known frame fits worse than the best by `clear` noises; in a still scene all fit alike."""
        known = [d for d in self._known.get(sample, {}).values() if not np.isnan(d)]
        return bool(known) and max(known) - min(known) >= clear * self.noise

    def fits(self, sample: int) -> frozenset[int]:
        """Every known k that agrees within the tolerance, and about as well as the best."""
        if (best := self.best(sample)) is None:
            return frozenset()
        limit = min(self.limit, _ALIKE * self.at(sample, best) + self.noise)
        return frozenset(k for k, distance in self._known[sample].items() if distance <= limit)

    def is_outside(self, sample: int, shift: int) -> bool:
        """Whether the frame k further on is none of the video's."""
        return not 0 <= self.evidence.frames[sample] + shift < self.evidence.frame_count
