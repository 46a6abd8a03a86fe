"""Follow people through the frames of a video, so that each keeps one track id, with the library `trackers`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

_USUAL_STEPS = 1.5
"""Least budget in usual steps: a person found in every frame was never lost."""
_LEAST_STEP_SECONDS = 1e-6
"""Least time between two frames, and the tolerance for rounding in sums of steps against `lost_seconds`."""


class Tracker:
    """ByteTrack (Zhang et al., ECCV 2022) as `trackers.ByteTrackTracker` has it, on times instead of frame numbers.

    Findings of at least `score` are matched first, by overlap with where a Kalman filter expects every person; weaker
    ones (down to `low_score`) then only prolong tracks that found nothing. The library assigns an id at the second
    finding; here every finding of at least `score` has one at once. Ids count from 1 in the order of appearance.

    `frame_rate` is the usual number of processed frames per second, the unit of time of the filter's noise. Boxes of a
    frame never depend on later frames.
    """

    def __init__(self, *, score: float, low_score: float, lost_seconds: float, frame_rate: float) -> None:
        from trackers import ByteTrackTracker

        self.score, self.low_score = score, low_score
        self.started = 0
        """Number of tracks so far."""
        budget_seconds = max(lost_seconds, _USUAL_STEPS / frame_rate)
        self._library = ByteTrackTracker(
            lost_track_buffer=math.ceil(30 * budget_seconds),
            frame_rate=frame_rate,
            track_activation_threshold=score,
            high_conf_det_threshold=score,
            # With 1 a person seen once is forgotten after two frames without a finding, whatever the budget.
            minimum_consecutive_frames=0,
        )
        # The buffer counts whole frames at 30 fps; the exact seconds are what it becomes in there.
        self._library.maximum_time_without_update = budget_seconds + _LEAST_STEP_SECONDS
        self._id_of: dict[Any, int] = {}
        """The library's tracks that are alive -> track id."""
        self._pts_seconds = self._sent_seconds = -math.inf

    def update(
        self, box_xyxy: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], pts_seconds: float
    ) -> npt.NDArray[np.int64]:
        """Track ids [N] of the boxes [N, 4] (pixels) found at `pts_seconds`; 0 = not followed. Times must ascend."""
        from supervision import Detections

        assert pts_seconds >= self._pts_seconds, f"{pts_seconds} s comes after {self._pts_seconds} s"
        self._pts_seconds = pts_seconds
        self._sent_seconds = max(pts_seconds, self._sent_seconds + _LEAST_STEP_SECONDS)
        taken = np.flatnonzero(scores >= self.low_score)
        found = Detections(xyxy=box_xyxy[taken], confidence=scores[taken], data={"place": taken})
        named = self._library.update(found, timestamp=self._sent_seconds)

        ids = np.zeros(len(box_xyxy), np.int64)
        if len(named):  # the library answers in an order of its own
            ours = {track.tracker_id: track_id for track, track_id in self._id_of.items() if track.tracker_id != -1}
            # 0 where the library has none (-1): a weak finding, or one that began a track
            ids[named.data["place"]] = [ours.get(int(library_id), 0) for library_id in named.tracker_id]
        alive = {track: self._id_of.get(track, 0) for track in self._library.tracks}
        begun = [track for track, track_id in alive.items() if track_id == 0]
        for place in np.flatnonzero((scores >= self.score) & (ids == 0)):
            track = min(begun, key=lambda track: float(np.abs(track.get_state_bbox() - box_xyxy[place]).sum()))
            begun.remove(track)
            self.started += 1
            ids[place] = alive[track] = self.started
        self._id_of = alive
        return ids
