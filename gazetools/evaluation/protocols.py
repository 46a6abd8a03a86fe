"""The benchmarks' protocols: which metrics a head has, and by whose definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gazetools.annotations.gaze_labels import BenchmarkPicture, Head
from gazetools.metrics.gaze import gazefollow_auc, gazefollow_l2, predicted_point, vat_auc, vat_l2
from gazetools.metrics.gaze_benchmarks import HIT_DISTANCES, gaussian_auc, grid_auc, looks_at_a_head, picture_angle
from gazetools.schemas.gaze_labels import Protocol

Scores = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class ScoringRules:
    """One benchmark's protocol."""

    title: str
    score: Callable[[BenchmarkPicture, Head, Any], Scores]
    """Metrics of a head and its heatmap; empty for a target outside the frame, which has no place."""
    notes: tuple[str, ...]


def _gazefollow(picture: BenchmarkPicture, head: Head, heatmap: Any) -> Scores:
    average, minimum = gazefollow_l2(heatmap, head.gaze_x, head.gaze_y)
    auc = gazefollow_auc(heatmap, head.gaze_x, head.gaze_y, height=picture.height, width=picture.width)
    return {"auc": auc, "avg_l2": average, "min_l2": minimum}


def _videoattentiontarget(_: BenchmarkPicture, head: Head, heatmap: Any) -> Scores:
    if head.inout != 1:
        return {}
    distance = vat_l2(heatmap, head.gaze_x[0], head.gaze_y[0])
    return {"auc": vat_auc(heatmap, head.gaze_x[0], head.gaze_y[0]), "avg_l2": distance, "min_l2": distance}


def _childplay(picture: BenchmarkPicture, head: Head, heatmap: Any) -> Scores:
    found = _videoattentiontarget(picture, head, heatmap)
    if not found:
        return found
    target = (head.gaze_x[0], head.gaze_y[0])
    boxes = [*(one.box_xyxy for one in picture.heads), *picture.other_boxes]
    found["auc_gaussian"] = gaussian_auc(heatmap, *target)
    if looks_at_a_head(predicted_point(heatmap), boxes):
        found["p_head"] = float(looks_at_a_head(target, boxes))
    return found


def _gooreal(picture: BenchmarkPicture, head: Head, heatmap: Any) -> Scores:
    found = _videoattentiontarget(picture, head, heatmap)
    if not found:
        return found
    x, y = head.gaze_x[0], head.gaze_y[0]
    x0, y0, x1, y1 = head.box_xyxy
    found["auc_5x5"] = grid_auc(heatmap, x, y)
    found["picture_angle_deg"] = picture_angle(heatmap, x, y, head.eye_xy or ((x0 + x1) / 2, (y0 + y1) / 2))
    return found | {hit_name(distance): float(found["avg_l2"] < distance) for distance in HIT_DISTANCES}


def hit_name(distance: float) -> str:
    """Name of the share of heads whose L2 is below `distance`."""
    return f"hit_{distance:.2f}"


_VAT_RULES = (
    "AUC and L2 by the definitions of VideoAttentionTarget as in Gaze-LLE's evaluation; L2 in fractions of the frame."
)
PROTOCOLS: dict[Protocol, ScoringRules] = {
    "gazefollow": ScoringRules(
        title="GazeFollow",
        score=_gazefollow,
        notes=(
            "AUC and L2 by the definitions of GazeFollow as in Gaze-LLE's evaluation; L2 in fractions of the frame.",
        ),
    ),
    "videoattentiontarget": ScoringRules(
        title="VideoAttentionTarget", score=_videoattentiontarget, notes=(_VAT_RULES,)
    ),
    "childplay": ScoringRules(
        title="ChildPlay",
        score=_childplay,
        notes=(
            "Two protocols. PaGE's: AUC, L2 and in/out AP by the definitions of VideoAttentionTarget.",
            "The dataset authors': AUC (Gaussian > 0) against the cells where the target's Gaussian is above 0, and "
            "P.Head, the share of targets in a head box among the predictions in one. Numbers of the two "
            "AUCs cannot be compared.",
            "P.Head counts the annotated head boxes of the picture, also of people whose gaze is not scored; the "
            "dataset authors' code adds boxes of a head detector.",
        ),
    ),
    "gooreal": ScoringRules(
        title="GOO-Real",
        score=_gooreal,
        notes=(
            "Two protocols. PaGE's: AUC and L2 by the definitions of VideoAttentionTarget; every target counts as "
            "inside, so that an in/out AP would say nothing.",
            "GOO's own: AUC (5x5) of map and target on a 5x5 grid, the angle at the eyes in the picture, and the "
            "shares of heads with an L2 below 0.01 to 0.30. Numbers of the two AUCs cannot be compared.",
        ),
    ),
}
