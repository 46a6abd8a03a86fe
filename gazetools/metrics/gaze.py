"""Gaze target metrics as Gaze-LLE reports them on GazeFollow and VideoAttentionTarget, and target heatmaps.

The numbers are those of fkryan/gazelle's `gazelle/utils.py` and evaluation scripts, oddities included, so that results
stay comparable with published ones; each docstring names the oddities. Coordinates are fractions of the frame. Average
precision raises EnvironmentLacksError where scikit-learn is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from gazetools.schemas.errors import EnvironmentLacksError, UsageError

HeatmapHw: TypeAlias = Any
"""Anything numpy can read as [h, w]: an array or a tensor on any device."""

VAT_SIZE = 64
VAT_SIGMA = 3


def gazefollow_auc(
    heatmap: HeatmapHw, gt_x: Sequence[float], gt_y: Sequence[float], *, height: int, width: int
) -> float:
    """Area under the ROC curve on GazeFollow: the map at the image's own size against the annotators' pixels.

    The map is resized bilinearly (half-pixel centres, no antialiasing, float32) to the image; positive pixels are
    (int(x * width), int(y * height)), at most the last column or row. Annotators with x < 0 (gaze out of the frame)
    are left out, whatever their y. Height and width are those of the image in pixels. Returns 0..1, ties counted as in
    scikit-learn; 0.5 for a constant map; NaN where no annotator is inside the frame.
    """
    import torch
    import torch.nn.functional as F

    _same_length(gt_x, gt_y)
    target = np.zeros((height, width), dtype=bool)
    for x, y in zip(gt_x, gt_y, strict=True):
        if x >= 0:
            target[min(int(y * float(height)), height - 1), min(int(x * float(width)), width - 1)] = True
    map_11hw = torch.as_tensor(heatmap_array(heatmap), dtype=torch.float32)[None, None]
    resized = F.interpolate(map_11hw, (height, width), mode="bilinear", align_corners=False)
    return binary_auc(target, resized[0, 0].numpy())


def gazefollow_l2(heatmap: HeatmapHw, gt_x: Sequence[float], gt_y: Sequence[float]) -> tuple[float, float]:
    """(average, minimum) distance on GazeFollow between the map's peak and the annotations, in fractions.

    The prediction is the first maximum's column / w and row / h: the cell's top left corner, not its centre. The
    average is the distance to the mean annotation, in which annotators who said "out of frame" (-1, -1) count.
    """
    _same_length(gt_x, gt_y)
    x, y = predicted_point(heatmap)
    all_x, all_y = np.asarray(gt_x, np.float64), np.asarray(gt_y, np.float64)
    average = math.hypot(x - float(all_x.mean()), y - float(all_y.mean()))
    return average, float(np.hypot(x - all_x, y - all_y).min())


def vat_auc(heatmap: HeatmapHw, gt_x: float, gt_y: float) -> float:
    """Area under the ROC curve on VideoAttentionTarget (0..1): the map against a rectangle around the target.

    The rectangle reaches 3 sigma = 9 cells to each side of the target's cell on the 64x64 map; its end is cut at 63,
    so that the last row and column are never positive. NaN where it is empty (target right of or below the frame).
    Raises UsageError for maps that are not 64x64, for which alone the metric is defined.
    """
    values = _vat_map(heatmap)
    reach = 3 * VAT_SIGMA
    x, y = gt_x * VAT_SIZE, gt_y * VAT_SIZE
    target = np.zeros(values.shape, dtype=bool)
    target[
        max(0, int(y - reach)) : min(int(y + reach + 1), VAT_SIZE - 1),
        max(0, int(x - reach)) : min(int(x + reach + 1), VAT_SIZE - 1),
    ] = True
    return binary_auc(target, values)


def vat_l2(heatmap: HeatmapHw, gt_x: float, gt_y: float) -> float:
    """Distance on VideoAttentionTarget between the map's peak (its cell's top left corner) and the target."""
    x, y = predicted_point(_vat_map(heatmap))
    return math.hypot(x - gt_x, y - gt_y)


def predicted_point(heatmap: HeatmapHw) -> tuple[float, float]:
    """(x, y) of the first maximum's top left corner, as fractions of the map's width and height."""
    values = heatmap_array(heatmap)
    row, column = divmod(int(values.argmax()), values.shape[1])
    return column / values.shape[1], row / values.shape[0]


def inout_average_precision(inout: Sequence[float], scores: Sequence[float]) -> float:
    """Average precision (step-wise sum) of `scores`, the probabilities that `inout` is 1: the target is inside."""
    _same_length(inout, scores)
    return float(_sklearn_metrics().average_precision_score(np.asarray(inout), np.asarray(scores)))


def target_heatmap(
    x: float,
    y: float,
    *,
    height: int = 64,
    width: int = 64,
    sigma: int = 3,
    kind: Literal["gaussian", "cauchy"] = "gaussian",
) -> npt.NDArray[np.float32]:
    """Gaze-LLE's training target: a blob around the target's cell, cut at 3 sigma, with peak 1.

    The centre is (int(x * width), int(y * height)). The map is all zeros for a target with x < 0 or y < 0, and for one
    so far beyond the right or bottom edge that no part of the blob is inside. The blob is scaled to a maximum of 1
    after the cut, even where its centre lies outside. `sigma` is in cells, at least 1; `kind`: `gaussian`
    exp(-d^2 / 2 sigma^2), or `cauchy` sigma / (d^2 + sigma^2)^1.5. Returns float32 [height, width] in 0..1.
    """
    if sigma < 1 or kind not in ("gaussian", "cauchy"):
        raise UsageError(f"target_heatmap: sigma={sigma!r} must be at least 1 and kind={kind!r} gaussian or cauchy.")
    if x < 0 or y < 0:
        return np.zeros((height, width), np.float32)
    dx = np.arange(width) - int(x * width)
    dy = np.arange(height) - int(y * height)
    squared = (dx**2)[None, :] + (dy**2)[:, None].astype(np.float64)
    values = np.exp(-squared / (2 * sigma**2)) if kind == "gaussian" else sigma / (squared + sigma**2) ** 1.5
    inside = (np.abs(dx) <= 3 * sigma)[None, :] & (np.abs(dy) <= 3 * sigma)[:, None]
    blob: npt.NDArray[np.float32] = np.where(inside, values, 0.0).astype(np.float32)
    return blob / (blob.max() or np.float32(1))


def binary_auc(target_hw: npt.NDArray[np.bool_], scores_hw: npt.NDArray[Any]) -> float:
    """Area under the ROC curve of `scores_hw` for the positive cells; NaN where all cells are of one kind.

    Counted as pairs of a positive and a negative cell in the right order, ties half (Hanley and McNeil 1982): the same
    number as scikit-learn's roc_auc_score, in a quarter of its time on a map of 64x64 cells.
    """
    positive, negative = scores_hw[target_hw], np.sort(scores_hw[~target_hw])
    if not positive.size or not negative.size:
        return math.nan
    below = np.searchsorted(negative, positive, side="left").sum(dtype=np.int64)
    at_most = np.searchsorted(negative, positive, side="right").sum(dtype=np.int64)
    return float(below + at_most) / (2.0 * positive.size * negative.size)


def _sklearn_metrics() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise EnvironmentLacksError(
            "Average precision needs scikit-learn, which is not installed.",
            hint="pip install 'gazetools[evaluate]'",
        ) from error
    return metrics


def heatmap_array(heatmap: HeatmapHw) -> npt.NDArray[Any]:
    """The map [h, w] as a numpy array; UsageError for other shapes, NaN and infinity."""
    if hasattr(heatmap, "detach"):
        heatmap = heatmap.detach().cpu().numpy()
    values = np.asarray(heatmap)
    if values.ndim != 2 or not values.size:
        raise UsageError(f"A heatmap must be [h, w], not {list(values.shape)}.")
    if not np.isfinite(values).all():
        raise UsageError("A heatmap has NaN or infinity; it cannot be scored.")
    return values


def _vat_map(heatmap: HeatmapHw) -> npt.NDArray[Any]:
    values = heatmap_array(heatmap)
    if values.shape != (VAT_SIZE, VAT_SIZE):
        raise UsageError(
            f"VideoAttentionTarget's metrics are defined on {VAT_SIZE}x{VAT_SIZE} maps, not {list(values.shape)}.",
            hint="Resize the map to 64x64 first.",
        )
    return values


def _same_length(first: Sequence[float], second: Sequence[float]) -> None:
    if len(first) != len(second) or len(first) == 0:
        raise UsageError(f"{len(first)} and {len(second)} values: both lists must have one entry per annotation.")
