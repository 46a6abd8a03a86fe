"""Follow people through the frames of a video, so that each keeps one track id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float64]

_MIN_OVERLAP_HIGH, _MIN_OVERLAP_LOW = 0.2, 0.4
"""Least IoU between where a person is expected and where one was found, for sure and for weak findings."""
_BEYOND_REACH = 1e6
_VELOCITY_GAIN = 0.5
"""Share of the newest step in the velocity: half steady (a person's), half new; detector noise is smoothed."""


@dataclass
class _Track:
    track_id: int
    box_xyxy: Boxes
    """As last seen."""
    seen_seconds: float
    velocity_xy: npt.NDArray[np.float64]
    """Pixels per second of the box's middle."""

    def expected(self, pts_seconds: float) -> Boxes:
        shift = self.velocity_xy * (pts_seconds - self.seen_seconds)
        return self.box_xyxy + np.tile(shift, 2)

    def see(self, box_xyxy: Boxes, pts_seconds: float) -> None:
        passed = pts_seconds - self.seen_seconds
        if passed > 0:
            step = (_middle(box_xyxy) - _middle(self.box_xyxy)) / passed
            self.velocity_xy = (1 - _VELOCITY_GAIN) * self.velocity_xy + _VELOCITY_GAIN * step
        self.box_xyxy, self.seen_seconds = box_xyxy, pts_seconds


class Tracker:
    """Two-step association after ByteTrack (Zhang et al., ECCV 2022), on times instead of frame numbers.

    Findings of at least `score` are matched first, by the largest sum of overlaps (Hungarian algorithm), with where
    every person is expected; weaker ones (down to `low_score`) then only prolong tracks that found nothing: a person
    half hidden keeps the id, a weak finding alone starts none. Every finding of at least `score` has an id at once,
    also in a person's first frame. Ids count from 1 in the order of appearance, so equal findings give equal ids.

    Uses the past only, so that boxes of frame t never depend on later frames (PITFALLS 41).
    """

    def __init__(self, *, score: float, low_score: float, lost_seconds: float) -> None:
        self.score = score
        self.low_score = low_score
        self.lost_seconds = lost_seconds
        self._tracks: list[_Track] = []
        self._next_id = 1

    @property
    def started(self) -> int:
        """Tracks so far."""
        return self._next_id - 1

    def update(self, box_xyxy: Boxes, scores: npt.NDArray[np.float64], pts_seconds: float) -> npt.NDArray[np.int64]:
        """Track ids [N] of the boxes [N, 4] (pixels) found at `pts_seconds`; 0 = not followed. Times must ascend."""
        self._tracks = [t for t in self._tracks if pts_seconds - t.seen_seconds <= self.lost_seconds]
        ids = np.zeros(len(box_xyxy), np.int64)
        sure = np.flatnonzero(scores >= self.score)
        weak = np.flatnonzero((scores >= self.low_score) & (scores < self.score))
        waiting = list(range(len(self._tracks)))
        expected = np.array([t.expected(pts_seconds) for t in self._tracks]).reshape(-1, 4)
        for found, least in ((sure, _MIN_OVERLAP_HIGH), (weak, _MIN_OVERLAP_LOW)):
            overlap = overlaps(expected[waiting], box_xyxy[found])
            for place, which in _pairs(overlap, least):
                track = self._tracks[waiting[place]]
                track.see(box_xyxy[found[which]], pts_seconds)
                ids[found[which]] = track.track_id
            matched = set(ids[found].tolist())
            waiting = [place for place in waiting if self._tracks[place].track_id not in matched]
        for index in sure[ids[sure] == 0]:
            self._tracks.append(_Track(self._next_id, box_xyxy[index], pts_seconds, np.zeros(2)))
            ids[index] = self._next_id
            self._next_id += 1
        return ids


def overlaps(left_xyxy: Boxes, right_xyxy: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union [N, M] of boxes [N, 4] and [M, 4]."""
    low = np.maximum(left_xyxy[:, None, :2], right_xyxy[None, :, :2])
    high = np.minimum(left_xyxy[:, None, 2:], right_xyxy[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (left_xyxy, right_xyxy)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _pairs(overlap: npt.NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of the best assignment among those that overlap by at least `least`."""
    from scipy.optimize import linear_sum_assignment

    # Pairs out of reach cost so much that they are only taken where nothing else is left; then they are dropped.
    # Without this a far pair of overlap 0 could be chosen to win a little elsewhere.
    cost = np.where(overlap >= least, 1 - overlap, _BEYOND_REACH)
    rows, columns = linear_sum_assignment(cost)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if overlap[r, c] >= least]


def _middle(box_xyxy: Boxes) -> npt.NDArray[np.float64]:
    return np.asarray((box_xyxy[:2] + box_xyxy[2:]) / 2)
