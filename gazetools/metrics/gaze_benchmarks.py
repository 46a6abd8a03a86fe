"""Gaze target metrics of the authors of ChildPlay and GOO-Real; coordinates are fractions of the picture.

Both benchmarks are also scored by VideoAttentionTarget's definitions (`metrics.gaze`); numbers of different AUCs cannot
be compared with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from gazetools.metrics.gaze import HeatmapHw, binary_auc, heatmap_array, predicted_point, target_heatmap

HIT_DISTANCES = (0.01, 0.03, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30)
"""GOO's distances for the share of hits (upeee/GOO-GAZE2021, gazefollowing/evaluate.py)."""
_GRID = 5
_LEAST_NORM = 1e-6


def gaussian_auc(heatmap: HeatmapHw, x: float, y: float) -> float:
    """ChildPlay's AUC (idiap/sharingan, src/metrics.py): positive are the cells where the target's Gaussian is above 0.

    The Gaussian is cut at 3 sigma, so that these are 19x19 cells of a 64x64 map. NaN where none is inside.
    """
    values = heatmap_array(heatmap)
    target = target_heatmap(x, y, height=values.shape[0], width=values.shape[1])
    return binary_auc(target > 0, values)


def grid_auc(heatmap: HeatmapHw, x: float, y: float) -> float:
    """GOO's AUC: the map reduced to 5x5 by OpenCV's bilinear resize; positive is the target's cell alone.

    A target on the right or bottom edge counts as in the last cell, where GOO's code stops with an error.
    """
    import cv2

    values = cv2.resize(heatmap_array(heatmap).astype(np.float32), (_GRID, _GRID))
    target = np.zeros((_GRID, _GRID), dtype=bool)
    target[min(int(y * _GRID), _GRID - 1), min(int(x * _GRID), _GRID - 1)] = True
    return binary_auc(target, values)


def picture_angle(heatmap: HeatmapHw, x: float, y: float, eye_xy: tuple[float, float]) -> float:
    """Degrees (0..180) at the eyes between the target and the map's peak, as GOO measures: on fractions of the sides.

    The peak is its cell's top left corner. A target or peak at the eyes themselves gives 90 degrees, as in GOO's code.
    """
    peak_x, peak_y = predicted_point(heatmap)
    a, b = (peak_x - eye_xy[0], peak_y - eye_xy[1]), (x - eye_xy[0], y - eye_xy[1])
    cosine = (a[0] * b[0] + a[1] * b[1]) / (math.hypot(*a) * math.hypot(*b) + _LEAST_NORM)
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def looks_at_a_head(point: tuple[float, float], boxes_xyxy: Iterable[Sequence[float]]) -> bool:
    """Whether a point lies in one of the head boxes, edges included."""
    x, y = point
    return any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes_xyxy)
