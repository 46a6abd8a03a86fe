"""The table of pairs: who looks at whom, mutual gaze and shared targets, in the order of (frame, looker, other)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gazetools.exchange.table.row_blocks import Block
from gazetools.heatmaps.box_mass import mass_in_boxes
from gazetools.heatmaps.map_figures import MapFigures
from gazetools.metrics.social_gaze import in_boxes, inside_frame, looks_at, pairs_within, shares_target
from gazetools.schemas.table import TableOptions

_AT_ONCE = 128
_HEAD = ("head_x_min", "head_y_min", "head_x_max", "head_y_max")


@dataclass(frozen=True, kw_only=True)
class MapsOfPeople:
    """The maps of whole frames: float32 [n, H, W], their figures, and which rows [n] have a head box."""

    maps: npt.NDArray[np.float32]
    figures: MapFigures
    has_head: npt.NDArray[np.bool_]


def pair_columns(rows: Block, people: MapsOfPeople, options: TableOptions) -> dict[str, npt.NDArray[Any]]:
    """Columns of all pairs of people with head boxes in the frames of `rows`, which are whole frames."""
    kept = np.flatnonzero(people.has_head)
    pairs = pairs_within(rows["frame"][kept])
    looker, other = kept[pairs.looker], kept[pairs.other]
    box = np.stack([rows[name] for name in _HEAD], axis=1).astype(np.float64)
    peak = people.figures.peak_xy
    mass = mass_in_boxes(people.maps, looker, box[other], people.figures.total)
    on_head = in_boxes(peak[looker], box[other])
    inside = inside_frame(rows["inout"].astype(np.float64), options.look_inout)[looker]
    distance = np.hypot(*(peak[looker] - peak[other]).T)
    looks = looks_at(on_head, mass, inside, least_mass=options.look_mass)
    return {
        **{name: rows[name][looker] for name in ("video_id", "frame", "pts_seconds", "track_id")},
        "other_id": rows["track_id"][other],
        "mass_on_head": mass,
        "peak_on_head": on_head,
        "looks_at": looks,
        "mutual": looks & looks[pairs.back],
        "peak_distance": distance,
        "overlap": _overlap(people, looker, other, pairs.back),
        "shared_target": shares_target(distance, inside, pairs.back, most_distance=options.shared_distance),
    }


def _overlap(
    people: MapsOfPeople, looker: npt.NDArray[np.int64], other: npt.NDArray[np.int64], back: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Histogram intersection [p] of the two normalised maps; computed once for both orders of a pair."""
    once = np.flatnonzero(looker < other)
    found = np.empty(len(looker), np.float64)
    total = people.figures.total
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(total > 0, 1 / total, np.nan).astype(np.float32)[:, None, None]
        for start in range(0, len(once), _AT_ONCE):
            part = once[start : start + _AT_ONCE]
            a, b = looker[part], other[part]
            smaller = np.minimum(people.maps[a] * scale[a], people.maps[b] * scale[b])
            found[part] = smaller.sum(axis=(1, 2), dtype=np.float64)
    found[back[once]] = found[once]
    return found
