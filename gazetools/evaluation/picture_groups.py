"""Groups of a benchmark's heads: size of the head, distance and direction of the target, inside or outside."""

from __future__ import annotations

import itertools
import math

from gazetools.annotations.gaze_labels import Head

_SIZES = (0.05, 0.1, 0.2)
_DISTANCES = (0.15, 0.3, 0.5)


def groups_of(head: Head) -> dict[str, str]:
    """The group of a head in each kind; lengths are fractions of the picture's sides.

    `head_size`: the root of the box's area. `target_distance`: from the box's centre to the mean target.
    `direction`: the quarter around right, down, left, up in which the target lies, seen from there.
    """
    x0, y0, x1, y1 = head.box_xyxy
    size = math.sqrt(max(0.0, x1 - x0) * max(0.0, y1 - y0))
    found = {"head_size": _bin(size, _SIZES), "inout": {1: "inside", 0: "outside"}.get(head.inout or 0, "")}
    if head.inout is None:
        found["inout"] = "unknown"
    inside = [(x, y) for x, y in zip(head.gaze_x, head.gaze_y, strict=True) if x >= 0 and y >= 0]
    if head.inout == 0 or not inside:
        return found | {"target_distance": "outside", "direction": "outside"}
    dx = sum(x for x, _ in inside) / len(inside) - (x0 + x1) / 2
    dy = sum(y for _, y in inside) / len(inside) - (y0 + y1) / 2
    quarter = round(math.atan2(dy, dx) / (math.pi / 2)) % 4
    direction = ("right", "down", "left", "up")[quarter]
    return found | {"target_distance": _bin(math.hypot(dx, dy), _DISTANCES), "direction": direction}


def _bin(value: float, edges: tuple[float, ...]) -> str:
    """`0.05-0.10` for a value in [0.05, 0.1)."""
    low, high = next((a, b) for a, b in itertools.pairwise((0.0, *edges, math.inf)) if value < b)
    return f"{low:.2f}-{high:.2f}" if math.isfinite(high) else f"{low:.2f} and more"
