"""`Track`: which k each sample fits, along the video: one k throughout, several with jumps between them, or a line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from gazetools.validation.deep.curves import Curves
from gazetools.validation.subject import Floats
from gazetools.validation.verdict import Jump

_LINE_SLACK = 0.6  # frames off the line: rounding gives 0.5
_MIN_CHANGE = 1.5  # frames over the length from which on a line is a drift
_STRAY_SHARE = 0.2  # of the samples may fit nothing where the others lie on a line or have one k
MAX_SEGMENTS = 4
"""Stretches of one k each up to which their borders count as lost frames."""
_WHOLE_RANGE = 40  # shifts between those of the two neighbours that are all looked at where no nearer one fits


@dataclass(frozen=True, kw_only=True)
class TrackPoint:
    """A sample on the track."""

    sample: int
    frame: int
    fits: frozenset[int]
    """Every k that fits; none for a sample that fits no frame that was looked at."""


@dataclass
class Stretch:
    """Consecutive samples that fit one k."""

    shifts: frozenset[int]
    """Every k that all of them fit."""
    places: list[TrackPoint] = field(default_factory=list)


@dataclass(frozen=True)
class TrendLine:
    """k = offset + slope * frame."""

    slope: float
    offset: float

    def at(self, frame: int) -> float:
        return self.offset + self.slope * frame


class Track:
    """The samples of `curves` that were located so far, by frame."""

    def __init__(self, curves: Curves, samples: Iterable[int]) -> None:
        self._curves = curves
        self._samples = list(samples)

    @property
    def places(self) -> list[TrackPoint]:
        """All samples, by frame."""
        frames = self._curves.evidence.frames
        listed = [TrackPoint(sample=s, frame=frames[s], fits=self._curves.fits(s)) for s in self._samples]
        return sorted(listed, key=lambda place: place.frame)

    def locate_all(self) -> None:
        """Look where the neighbours fit for every sample that fits nothing yet."""
        for place in self.places:
            if not place.fits:
                self._locate(place.sample)

    def add(self, low: int, high: int) -> bool:
        """Locate one more sample between two frames; False where there is none."""
        sample = self._curves.evidence.between(low, high)
        if sample is None:
            return False
        self._locate(sample)
        self._samples.append(sample)
        return True

    def _locate(self, sample: int) -> None:
        """Look at the k of the nearest located samples on both sides, and between them."""
        frame = self._curves.evidence.frames[sample]
        located = [place for place in self.places if place.fits and place.sample != sample]
        left = next((p for p in reversed(located) if p.frame < frame), None)
        right = next((p for p in located if p.frame > frame), None)
        known = [self._curves.best(p.sample) for p in (left, right) if p is not None]
        shifts = [k for k in known if k is not None]
        tries = {0} | {k + step for k in shifts for step in (-1, 0, 1)}
        if left is not None and right is not None and len(shifts) == 2:
            share = (frame - left.frame) / (right.frame - left.frame)
            middle = round(shifts[0] + share * (shifts[1] - shifts[0]))
            tries |= set(range(middle - 2, middle + 3))
        self._curves.look([sample], sorted(tries))
        self._curves.settle(sample)
        if not self._curves.fits(sample) and shifts and max(shifts) - min(shifts) <= _WHOLE_RANGE:
            self._curves.look([sample], range(min(shifts), max(shifts) + 1))

    def segments(self) -> list[Stretch]:
        """The fewest stretches of one k each."""
        found: list[Stretch] = []
        for place in self.places:
            if not place.fits:
                continue
            if found:
                last = found[-1]
                if common := last.shifts & place.fits:
                    last.shifts = common
                    last.places.append(place)
                    continue
            found.append(Stretch(shifts=place.fits, places=[place]))
        return found

    def without_cut_ends(self, segments: list[Stretch]) -> list[Stretch]:
        """The stretches less first and last ones whose samples lie as they do only since the video ends there."""
        found = list(segments)
        while len(found) > 1 and self._are_cut_short(found[1], before=True):
            del found[0]
        while len(found) > 1 and self._are_cut_short(found[-2], before=False):
            del found[-1]
        return found

    def without_held(self, segments: list[Stretch]) -> list[Stretch]:
        """The stretches less inner ones whose samples fit the edges of their neighbours.

        The frames of a piece that was cut out of the video resemble the frames before and after the cut.
        """
        found = segments[:1]
        for number, segment in enumerate(segments[1:], 1):
            rest = segments[number + 1 : number + 2]
            edges = {found[-1].places[-1].frame + self.shift_of(found[-1])}
            edges |= {after.places[0].frame + self.shift_of(after) for after in rest}
            sources = {place.frame + self.shift_of(segment) for place in segment.places}
            goes_on = any(self.shift_of(after) != self.shift_of(found[-1]) for after in rest)
            if not (goes_on and sources <= edges):
                found.append(segment)
        return found

    def _are_cut_short(self, segment: Stretch, *, before: bool) -> bool:
        """Whether all samples before (or after) a stretch have its k, or would if the video had their frames."""
        first, last = segment.places[0].frame, segment.places[-1].frame
        beyond = [place for place in self.places if (place.frame < first if before else place.frame > last)]
        shift = self.shift_of(segment)
        return all(shift in place.fits or self._is_cut_short(place, shift) for place in beyond)

    def _is_cut_short(self, place: TrackPoint, shift: int) -> bool:
        """Whether the frame k further on lies outside the video, and the sample fits its first or last one, or none."""
        ends = {-place.frame, self._curves.evidence.frame_count - 1 - place.frame}
        return self._curves.is_outside(place.sample, shift) and (not place.fits or bool(ends & place.fits))

    def strays(self, segments: list[Stretch]) -> list[TrackPoint]:
        """Samples that fit nothing although the k of the stretches next to them would lie inside the video."""
        shifts = {self.shift_of(segment) for segment in segments}
        return [
            place
            for place in self.places
            if not place.fits and not any(self._curves.is_outside(place.sample, k) for k in shifts | {0})
        ]

    def few(self, strays: list[TrackPoint]) -> bool:
        """Whether so many samples may be outliers."""
        return len(strays) <= _STRAY_SHARE * len(self._samples)

    def shift_of(self, segment: Stretch) -> int:
        """The k of the smallest summed distance; 0 where that fits as well."""
        if 0 in segment.shifts:
            return 0
        sums = {k: sum(self._curves.at(p.sample, k) for p in segment.places) for k in segment.shifts}
        return min(sums, key=lambda k: (sums[k], abs(k)))

    def jumps(self, segments: list[Stretch]) -> tuple[Jump, ...]:
        """The places between the stretches, as narrow as the samples show them."""
        found = []
        for before, after in pairwise(segments):
            first, last = self._border(before, after)
            shifts = self.shift_of(before), self.shift_of(after)
            found.append(Jump(first=first + 1, last=last, before=shifts[0], after=shifts[1]))
        return tuple(found)

    def _border(self, before: Stretch, after: Stretch) -> tuple[int, int]:
        """The last frame that fits only the first stretch, and the first that fits only the second."""
        shift = self.shift_of(after)
        only = [p.frame for p in before.places if shift not in p.fits and not self._curves.is_outside(p.sample, shift)]
        return max(only, default=before.places[-1].frame), after.places[0].frame

    def gaps(self, segments: list[Stretch]) -> list[tuple[int, int]]:
        """The gaps between two samples in which one place between two stretches may lie more exactly."""
        found = []
        for before, after in pairwise(segments):
            low, high = self._border(before, after)
            shifts = self.shift_of(before), self.shift_of(after)
            inside = [place for place in self.places if low <= place.frame <= high]
            # samples that fit both, or neither as in a piece that was cut out, need none between them
            found += [
                (one.frame, next_one.frame)
                for one, next_one in pairwise(inside)
                if next_one.frame - one.frame > 1 and self._which(one, shifts) != self._which(next_one, shifts)
            ]
        return found

    def _which(self, place: TrackPoint, shifts: tuple[int, int]) -> tuple[bool, ...]:
        return tuple(k in place.fits for k in shifts)

    def may_jump(self, segments: list[Stretch]) -> bool:
        """Whether stretches are evidence of jumps: few, each of two samples or next to one that is in its place."""
        if not 2 <= len(segments) <= MAX_SEGMENTS:
            return False
        in_place = [0 in segment.shifts for segment in segments]
        for number, segment in enumerate(segments):
            around = in_place[max(number - 1, 0) : number + 2]
            if len(segment.places) < 2 and not any(around):
                return False
        inner = [(a.places[-1].frame, b.places[0].frame) for a, b in pairwise(segments)]
        return all(any(low < p.frame < high for low, high in inner) for p in self.strays(segments))

    def line(self) -> TrendLine | None:
        """The line that all samples lie on, up to rounding and the ends of the video; None where there is none."""
        last = self._curves.evidence.frame_count - 1
        fitting = [p for p in self.places if p.fits]
        # made of the first or the last frame again where the line leaves the video
        free = [p for p in fitting if not {-p.frame, last - p.frame} & p.fits]
        for chosen in ([p for p in fitting if p in free or p.frame == 0], free, fitting):
            if len(chosen) > 2 and (line := self._line_through(chosen)):
                return line
        return None

    def _line_through(self, chosen: list[TrackPoint]) -> TrendLine | None:
        frame, low, high = (
            np.array(values, dtype=np.float64)
            for values in ([p.frame for p in chosen], [min(p.fits) for p in chosen], [max(p.fits) for p in chosen])
        )
        line, slack = _straightest(frame, low, high)
        places = self.places
        if slack > _LINE_SLACK or abs(line.slope) * (places[-1].frame - places[0].frame) < _MIN_CHANGE:
            return None
        return line if self.few([p for p in places if not self._is_on(line, p)]) else None

    def _is_on(self, line: TrendLine, place: TrackPoint) -> bool:
        source = place.frame + line.at(place.frame)
        if source < _LINE_SLACK or source > self._curves.evidence.frame_count - 1 - _LINE_SLACK:
            return True
        return any(abs(k - line.at(place.frame)) <= _LINE_SLACK + 0.5 for k in place.fits)


def _straightest(frame: Floats, low: Floats, high: Floats) -> tuple[TrendLine, float]:
    """The line nearest to the intervals low..high at `frame` [n], n >= 2, and its largest distance to one."""
    i, j = np.triu_indices(len(frame), 1)
    run = frame[j] - frame[i]
    middle = (low + high) / 2
    rises = [y[j] - x[i] for x in (low, high, middle) for y in (low, high, middle)]
    slopes = np.unique(np.concatenate([rise / run for rise in rises]))
    top = (high[None, :] - slopes[:, None] * frame[None, :]).min(axis=1)
    bottom = (low[None, :] - slopes[:, None] * frame[None, :]).max(axis=1)
    slack = np.maximum((bottom - top) / 2, 0)
    best = np.lexsort((np.abs(slopes), slack.round(6)))[0]
    return TrendLine(float(slopes[best]), float((top[best] + bottom[best]) / 2)), float(slack[best])
