"""Score the rows of one store file against those of a ground-truth store file of the same video."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.eye_gaze import DepthQuality
from gazetools.egoexo.geometry import Fisheye
from gazetools.evaluation.scores import HeadScore, Tally
from gazetools.metrics.gaze import predicted_point, vat_auc, vat_l2
from gazetools.schemas.errors import DataFileError
from gazetools.schemas.store import Prompt
from gazetools.store import StoreReader, open_store

MIN_OVERLAP = 0.3  # least intersection over union of the head boxes of one person
_DISTANCES_M = (2.0, 3.0, 4.0, 6.0)  # edges between the groups of the wearer's distance from the camera


def score_video(video_id: str, predicted: Path, truth: Path, tally: Tally, *, depth: str) -> None:
    """Add to `tally` a row for every row of the truth that a prediction matches, and count all others.

    AUC and L2 are VideoAttentionTarget's, for targets inside the picture; rows whose target is known to be inside or
    outside also enter the in/out precision. The angle is measured at the eyes, between the true target and the point
    that the peak's pixel shows at the true target's distance from the camera.

    Raises DataFileError where a file can't be read or the two are of different videos.
    """
    with open_store(truth) as true, open_store(predicted) as guess:
        _same_video(video_id, guess, true)
        target = true.extra("target_xy")
        quality = true.extra("depth_quality")
        if target is None:
            raise DataFileError(
                f"{truth} has no extra/target_xy: it is no ground truth.", hint="Make it with gazetools groundtruth."
            )
        geometry = _Geometry(true)
        times = dict(zip(true.frames.index.tolist(), true.frames.pts_seconds.tolist(), strict=True))
        for row, match in enumerate(_matches(guess, true)):
            if match < 0:
                tally.counts["truth_without_prediction"] += 1
                continue
            frame, inout = int(true.row_frame[row]), float(true.row_inout[row])
            reason = _unusable(inout, target[row], quality[row] if quality is not None else None, depth)
            metrics: dict[str, Any] = {}
            if reason is None:
                heatmap = guess.read_heatmaps(match, match + 1)[0].astype(np.float32)
                x, y = (float(value) for value in target[row])
                distance, angle = vat_l2(heatmap, x, y), geometry.angle(row, heatmap)
                metrics = {"auc": vat_auc(heatmap, x, y), "avg_l2": distance, "min_l2": distance, "angle_deg": angle}
            tally.counts[reason or "scored"] += 1
            tally.rows.append(
                HeadScore(
                    video_id=video_id,
                    frame=frame,
                    track_id=int(guess.row_track_id[match]),
                    true_track_id=int(true.row_track_id[row]),
                    block=f"{video_id}@{int(times.get(frame, 0.0))}",
                    groups={
                        "camera": video_id.rsplit("/", 1)[-1],
                        "distance": geometry.distance(row),
                        "prompt": Prompt(int(guess.row_prompt[match])).name.lower(),
                    },
                    inout_true=inout,
                    inout_score=float(guess.row_inout[match]),
                    place=f"{truth}, row {row}",
                    **metrics,
                )
            )


def _unusable(inout: float, target: Any, quality: Any, depth: str) -> str | None:
    """The count under which a row without AUC and L2 goes; None for a row that has them."""
    if inout == 0:
        return "target_outside"
    if not np.isfinite(target).all() or not math.isfinite(inout):
        return "depth_unknown"
    if depth == "measured" and quality is not None and quality not in (DepthQuality.MEASURED, DepthQuality.POINTS):
        return "depth_assumed"
    return None


def _same_video(video_id: str, guess: StoreReader, true: StoreReader) -> None:
    ours, theirs = guess.provenance.video, true.provenance.video
    problem = ""
    if ours.frame_count != theirs.frame_count:
        problem = f"video with {ours.frame_count} frames, the ground truth of one with {theirs.frame_count}"
        problem += ": frame numbers don't mean the same"
    elif abs((ours.width / ours.height) / (theirs.width / theirs.height) - 1) > 0.02:
        problem = f"{ours.width}x{ours.height} video, the ground truth of a {theirs.width}x{theirs.height} one"
        problem += ": one is cropped or turned"
    if problem:
        hint = "Make both from the same video file."
        raise DataFileError(f"{video_id}: the predictions are of a {problem}.", hint=hint)


def _matches(guess: StoreReader, true: StoreReader) -> npt.NDArray[np.int64]:
    """For every row of the truth the prediction's row of the same frame and person, int64 [N]; -1 without one.

    The person is the wearer where the prediction knows who that is, else the only person, else the one whose box
    overlaps the true box most (at least 0.3).
    """
    out = np.full(len(true), -1, np.int64)
    wearers = [track for track, role in guess.tracks.items() if role == "wearer"]
    chosen = wearers or (list(guess.tracks) if len(guess.tracks) == 1 else [])
    if chosen:
        rows = np.flatnonzero(np.isin(guess.row_track_id, chosen))
        frames = guess.row_frame[rows]
        low = np.searchsorted(frames, true.row_frame)
        found = low < np.searchsorted(frames, true.row_frame, side="right")
        out[found] = rows[low[found]]
        return out
    for row in range(len(true)):
        low, high = np.searchsorted(guess.row_frame, [true.row_frame[row], true.row_frame[row] + 1])
        if high > low and true.row_prompt[row] != Prompt.NONE:
            overlap = _overlaps(guess.row_box[low:high], true.row_box[row])
            best = int(overlap.argmax())
            out[row] = low + best if overlap[best] >= MIN_OVERLAP else -1
    return out


def _overlaps(boxes: npt.NDArray[np.float32], box: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Intersection over union [N] of boxes [N, 4] with one box."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1).astype(np.float64)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return shared / np.maximum(area - shared, 1e-12)


class _Geometry:
    """Distances and angles, where the ground truth knows the camera."""

    def __init__(self, true: StoreReader) -> None:
        self._eyes = true.extra("eyes_camera")
        self._target = true.extra("target_camera")
        lens = (true.provenance.options.get("geometry") or {}).get("lens")
        self._lens = Fisheye(**{**lens, "k": tuple(lens["k"])}) if lens else None

    def distance(self, row: int) -> str:
        """The bin of the wearer's distance from the camera, such as `2-3 m`."""
        if self._eyes is None or not np.isfinite(self._eyes[row]).all():
            return "unknown"
        metres = float(np.linalg.norm(self._eyes[row]))
        low, high = next((a, b) for a, b in itertools.pairwise((0.0, *_DISTANCES_M, math.inf)) if metres < b)
        return f"{low:g}-{high:g} m" if math.isfinite(high) else f"over {low:g} m"

    def angle(self, row: int, heatmap: npt.NDArray[np.float32]) -> float:
        """Degrees at the eyes between the true and the predicted target; NaN where geometry is not known."""
        if self._lens is None or self._eyes is None or self._target is None:
            return math.nan
        height, width = heatmap.shape
        x, y = predicted_point(heatmap)  # the cell's corner: half a cell further is its centre
        pixel = [(x + 0.5 / width) * self._lens.width, (y + 0.5 / height) * self._lens.height]
        eyes, target = self._eyes[row].astype(np.float64), self._target[row].astype(np.float64)
        shown = self._lens.unproject(pixel) * np.linalg.norm(target)
        a, b = target - eyes, shown - eyes
        cosine = float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
        return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
