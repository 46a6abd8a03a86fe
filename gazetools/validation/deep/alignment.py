"""Judge distances between stored samples and decoded frames: in place, shifted, jumping, drifting, mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gazetools.sampling import spread
from gazetools.validation.deep.curves import Curves, Evidence
from gazetools.validation.deep.track import MAX_SEGMENTS, Stretch, Track
from gazetools.validation.rates import MISTAKES
from gazetools.validation.verdict import Verdict

_FIRST_RING = 2
_SEARCHED_SAMPLES = 5  # in a wide search over shifts; the others are found from these
_RATE_SAMPLES = 8
_CLEAR = 4.0  # noises between two distances from which on one is clearly better
_ROUNDS = 24  # halvings of the widest gap that an exact place may take: enough for 10^7 frames between two samples
_REFINED_FRAMES = 600
"""Frames of the video that may be looked at for more samples."""


def judge(evidence: Evidence, *, difference: int = 0, rate: float = 0.0) -> Verdict:
    """Compare every sample with its frame and that frame's neighbours; where that fails, look for the reason.

    A sample is off where its frame does not agree within the tolerance, or another agrees twice as well. All samples
    are explained together: by a change such as mirroring, one shift k, jumps of k at some places, a k that grows
    evenly, or not at all. `difference` is the video's decoded frames less the samples' stated number of frames, a
    shift that is looked at early; known mistakes of rate count where they are possible at `rate` frames per second.
    """
    count = len(evidence.frames)
    if not count:
        return Verdict(kind="aligned", frames=[], of=0, identifiable=False)
    curves, everyone = Curves(evidence), list(range(count))
    curves.look(everyone, dict.fromkeys((0, -1, 1, difference)))
    for sample in everyone:
        curves.settle(sample)
    curves.calibrate(everyone)
    off = _off(curves, everyone)
    if not off:
        return Verdict(kind="aligned", frames=[], of=count, identifiable=_is_identifiable(curves, everyone))
    unexplained = Verdict(kind="unexplained", frames=[evidence.frames[s] for s in off], of=count)
    searched = [off[i] for i in spread(len(off), _SEARCHED_SAMPLES)]
    if change := _search(curves, searched):
        return replace(unexplained, kind="transformed", change=change)
    found = [k for s in searched if curves.fits(s) and (k := curves.best(s)) is not None]
    curves.look(everyone, dict.fromkeys(found))
    for sample in everyone:
        curves.settle(sample)
    curves.calibrate(everyone)
    track = Track(curves, everyone)
    track.locate_all()
    return (
        _along(track, evidence, unexplained)
        or _at_known_rate(curves, everyone, unexplained, rate)
        or (_by_majority(curves, searched, unexplained) if 2 * len(off) >= count else None)
        or _beyond(curves, off, unexplained)
    )


def _beyond(curves: Curves, off: list[int], verdict: Verdict) -> Verdict:
    """Not explained, unless all samples that are off are of frames that the video does not have."""
    if all(curves.is_outside(sample, 0) for sample in off):
        return replace(verdict, kind="aligned", frames=[])
    return verdict


def _off(curves: Curves, samples: list[int]) -> list[int]:
    """Samples that do not agree with their frame, or agree clearly better, and twice as well, with another."""
    tolerance, noise = curves.evidence.tolerance, curves.noise
    here = np.array([curves.at(s, 0) for s in samples])
    best = np.array([np.inf if (k := curves.best(s)) is None else curves.at(s, k) for s in samples])
    own = np.where(np.isnan(here), np.inf, here)
    is_better = (best + noise < 0.5 * own) & (best + _CLEAR * noise <= own)
    off = ~(own <= tolerance) | is_better
    # a frame that the video does not have is no evidence, unless the sample fits elsewhere as well as the others do
    limit = curves.limit if (own <= tolerance).any() else -np.inf
    off &= ~np.isnan(here) | ((best <= limit) & [curves.is_sharp(s, _CLEAR) for s in samples])
    return np.flatnonzero(off).tolist()


def _is_identifiable(curves: Curves, samples: list[int]) -> bool:
    """Whether any sample fits its own frame clearly better than both neighbours."""
    for sample in samples:
        here = curves.at(sample, 0)
        near = [d for k in (-1, 1) if not np.isnan(d := curves.at(sample, k))]
        if near and min(near) - here > max(_CLEAR * curves.noise, here):
            return True
    return False


def _search(curves: Curves, samples: list[int]) -> str | None:
    """Look ever further around until every sample fits somewhere; the name of a change that explains all instead."""
    evidence = curves.evidence
    ring = min(_FIRST_RING, evidence.max_shift)
    while True:
        curves.look(samples, range(-ring, ring + 1))
        for sample in samples:
            curves.settle(sample)
        if all(_fits_better(curves, sample) for sample in samples):
            return None
        if ring <= _FIRST_RING:
            # flipped maps cost no further frame: looked at before the search goes wide
            own = _middle([curves.at(s, 0) for s in samples])
            for name, distances in evidence.transformed(samples).items():
                if _middle(distances.tolist()) <= evidence.tolerance and _middle(distances.tolist()) < 0.5 * own:
                    return name
        if ring >= evidence.max_shift:
            return None
        ring = min(2 * ring, evidence.max_shift)


def _fits_better(curves: Curves, sample: int) -> bool:
    """Whether the sample fits a frame, and twice as well as its own."""
    best, here = curves.best(sample), curves.at(sample, 0)
    if best is None or not curves.fits(sample):
        return False
    return not here <= np.inf or curves.at(sample, best) + curves.evidence.noise < 0.5 * here


def _along(track: Track, evidence: Evidence, verdict: Verdict) -> Verdict | None:
    """One k for all samples, k that jumps, or k on a line; more samples are taken where k changes."""
    segments = track.segments()
    if len(segments) == 1:
        return _shift(track, segments, verdict)
    if not track.may_jump(segments) and track.line() is None:
        return None
    limit = evidence.spent + _REFINED_FRAMES
    for _ in range(_ROUNDS):
        added = [track.add(*gap) for gap in track.gaps(segments) if evidence.spent < limit]
        segments = track.segments()
        # few places may be lost frames as well as a slow clock: their exact distances tell
        inner = track.without_cut_ends(segments)
        is_settled = len(inner) > MAX_SEGMENTS or not any(added)
        if len(inner) > 2 and is_settled and (drift := _drift(track, verdict)):
            return drift
        if not any(added):
            break
    segments = track.without_held(track.without_cut_ends(segments))
    if len(segments) == 1:
        return _shift(track, segments, verdict)
    if track.may_jump(segments):
        jumps = track.jumps(segments)
        return replace(verdict, kind="jumping", jumps=jumps, frames=[jump.last for jump in jumps])
    return _monotone(track, segments, verdict)


def _shift(track: Track, segments: list[Stretch], verdict: Verdict) -> Verdict | None:
    shifts = segments[0].shifts
    if 0 in shifts or not track.few(track.strays(segments)):
        return None
    return replace(verdict, kind="shifted", shifts=(min(shifts), max(shifts)))


def _drift(track: Track, verdict: Verdict) -> Verdict | None:
    if (line := track.line()) is None:
        return None
    span = track.places[0].frame, track.places[-1].frame
    return replace(verdict, kind="drifting", span=span, shifts=(round(line.at(span[0])), round(line.at(span[1]))))


def _monotone(track: Track, segments: list[Stretch], verdict: Verdict) -> Verdict | None:
    """k that grows unevenly in one direction, as with a variable rate that was taken for a constant one."""
    shifts = [track.shift_of(segment) for segment in segments]
    steps = np.diff(shifts)
    if len(shifts) < 3 or not ((steps > 0).all() or (steps < 0).all()) or not track.few(track.strays(segments)):
        return None
    span = segments[0].places[0].frame, segments[-1].places[-1].frame
    return replace(verdict, kind="drifting", span=span, shifts=(shifts[0], shifts[-1]))


def _at_known_rate(curves: Curves, everyone: list[int], verdict: Verdict, rate: float) -> Verdict | None:
    """A drift by a known mistake of rate, which may reach further than the search over shifts."""
    samples = [everyone[i] for i in spread(len(everyone), _RATE_SAMPLES)]
    frames = curves.evidence.frames
    speeds = [1 / mistake.ratio for mistake in MISTAKES if mistake.is_possible_at(rate)]
    shifts = {speed: {s: round(frames[s] * (speed - 1)) for s in samples} for speed in speeds}
    for sample in samples:
        curves.look([sample], {shifts[speed][sample] + step for speed in speeds for step in (-1, 0, 1)})
    found: list[tuple[int, float]] = []
    for speed, predicted in shifts.items():
        inside = [s for s in samples if not curves.is_outside(s, predicted[s])]
        fitting = [s for s in inside if curves.fits(s) & {predicted[s] + step for step in (-1, 0, 1)}]
        moved = [s for s in fitting if abs(predicted[s]) > 1 and 0 not in curves.fits(s)]
        if len(moved) > 1 and len(fitting) >= max(3, 0.8 * len(inside)):
            found.append((len(fitting), speed))
    if not found:
        return None
    speed = max(found)[1]
    span = min(frames[s] for s in samples), max(frames[s] for s in samples)
    ends = round(span[0] * (speed - 1)), round(span[1] * (speed - 1))
    return replace(verdict, kind="drifting", span=span, shifts=ends)


def _by_majority(curves: Curves, samples: list[int], verdict: Verdict) -> Verdict | None:
    """The k, or the range of equally good ones, at which the median sample agrees and twice as well as in its place."""
    evidence = curves.evidence
    # a sample whose own frame is outside the video has no distance to it: anything is better
    own = _middle([curves.at(s, 0) for s in samples])
    shifts = range(-evidence.max_shift, evidence.max_shift + 1)
    middle = {k: _middle([curves.at(s, k) for s in samples]) for k in shifts}
    best = min(middle, key=lambda k: (middle[k], abs(k)))
    if best == 0 or not middle[best] <= evidence.tolerance or not middle[best] + evidence.noise < 0.5 * own:
        return None
    alike = [k for k, value in middle.items() if value <= middle[best] + evidence.noise]
    return replace(verdict, kind="shifted", shifts=(min(alike), max(alike)))


def _middle(distances: Sequence[float]) -> float:
    """The lower median of distances; NaN, a frame outside the video, counts as infinite."""
    return float(np.sort(np.where(np.isnan(distances), np.inf, distances))[(len(distances) - 1) // 2])
