"""Head boxes of the wearer in an exo view, from geometry alone: always of the wearer, even when seen from behind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import product

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Floats, Poses, StaticCamera

HEAD_HALF_M = (0.09, 0.13, 0.11)
"""Half of a head's width, height and depth."""
HEAD_CENTRE_Z_M = -0.095
"""The head's centre lies behind the pupils."""
MIN_CORNERS = 4
MIN_VISIBLE_SHARE = 0.5
MIN_SIDE_PX = 8.0
# [8, 3] corners of the head in the central pupil frame
HEAD_CORNERS = np.array(list(product((-1, 1), repeat=3))) * HEAD_HALF_M + (0, 0, HEAD_CENTRE_Z_M)


class BoxState(IntEnum):
    """Why a frame has a head box or none."""

    GOOD = 0
    NO_POSE = 1
    BEHIND = 2
    """Fewer than 4 corners lie in front of the camera."""
    OUTSIDE = 3
    """Less than half of the box is in the picture."""
    SMALL = 4
    """A side under 8 pixels of the decoded video."""


@dataclass(frozen=True, kw_only=True)
class HeadBoxes:
    """One box per frame of one camera."""

    box_xyxy: Floats
    """[N, 4] pixels of the decoded video, cut at its edges; NaN where there is none."""
    state: npt.NDArray[np.uint8]
    """[N] a `BoxState` each."""
    clipped: int
    """Boxes that were cut at an edge."""

    @property
    def counts(self) -> dict[str, int]:
        """State -> frames."""
        return {state.name.lower(): int((self.state == state).sum()) for state in BoxState}


def head_boxes(camera: StaticCamera, cpf: Poses, known: npt.NDArray[np.bool_]) -> HeadBoxes:
    """Boxes around the projected corners of the head at every pose; `camera.lens` has the decoded video's size."""
    uv, in_front = camera.project(cpf.apply(HEAD_CORNERS))  # [N, 8, 2], [N, 8]
    enough = known & (in_front.sum(axis=1) >= MIN_CORNERS)
    low = np.where(in_front[..., None], uv, np.inf).min(axis=1)
    high = np.where(in_front[..., None], uv, -np.inf).max(axis=1)
    size = np.array([camera.lens.width, camera.lens.height], np.float64)
    cut_low, cut_high = np.clip(low, 0, size), np.clip(high, 0, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.prod(cut_high - cut_low, axis=1) / np.prod(high - low, axis=1)
    state = np.full(len(cpf), BoxState.GOOD, np.uint8)
    state[(cut_high - cut_low).min(axis=1) < MIN_SIDE_PX] = BoxState.SMALL
    state[~(share >= MIN_VISIBLE_SHARE)] = BoxState.OUTSIDE
    state[~enough] = BoxState.BEHIND
    state[~known] = BoxState.NO_POSE
    good = state == BoxState.GOOD
    box = np.where(good[:, None], np.concatenate([cut_low, cut_high], axis=1), np.nan)
    moved = (cut_low != low).any(axis=1) | (cut_high != high).any(axis=1)
    return HeadBoxes(box_xyxy=box, state=state, clipped=int((moved & good).sum()))
