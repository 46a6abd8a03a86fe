"""Head boxes of the wearer in an exo view, from geometry alone: always of the wearer, even when seen from behind.

The head is an ellipsoid, and its box encloses the outline (silhouette) that the fisheye camera sees of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gazetools.egoexo.geometry import Floats, Poses, StaticCamera

HEAD_HALF_M = np.array([0.09, 0.13, 0.11])
"""Half axes of the ellipsoid that stands for a head: left, up and forward in the central pupil frame (CPF)."""
HEAD_CENTRE_M = np.array([0.0, 0.0, -0.095])
"""The head's centre lies behind the pupils."""
MIN_OUTLINE_SHARE = 0.5
MIN_VISIBLE_SHARE = 0.5
MIN_SIDE_PX = 8.0
_OUTLINE_POINTS = 32
"""Places on the outline; the parabola through an extreme one and its neighbours is within 1e-3 of half a side."""


class BoxState(IntEnum):
    """Why a frame has a head box or none."""

    GOOD = 0
    NO_POSE = 1
    BEHIND = 2
    """Less than half of the head's outline lies in front of the camera, or the camera is inside the head."""
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
    """Boxes around the outline of the head at every pose; `camera.lens` has the decoded video's size."""
    uv, in_front = camera.lens.project(_outline(camera, cpf))  # [N, P, 2], [N, P]
    enough = known & (in_front.mean(axis=1) >= MIN_OUTLINE_SHARE)
    low, high = -_largest(-uv), _largest(uv)
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


def _outline(camera: StaticCamera, cpf: Poses) -> Floats:
    """Points [N, P, 3] in the camera's axes where its rays touch the head; NaN where the camera is inside the head.

    In coordinates in which the head is the unit ball, the rays from a place q touch it on the circle of the points p
    with p . q = 1: its centre is q / |q|^2, its radius sqrt(1 - 1 / |q|^2), its plane is at right angles to q.
    """
    centre = cpf.apply(HEAD_CENTRE_M[None])[:, 0]
    q = np.einsum("nij,ni->nj", cpf.rotation, camera.translation - centre) / HEAD_HALF_M
    squared = np.einsum("ni,ni->n", q, q)
    with np.errstate(invalid="ignore", divide="ignore"):
        outside = squared > 1
        radius = np.sqrt(np.where(outside, 1 - 1 / squared, np.nan))
        axis = q / np.sqrt(squared)[:, None]
    # a direction at right angles to q: the cross product with the axis of the CPF that q is farthest from
    across = np.cross(axis, np.eye(3)[np.abs(np.nan_to_num(axis)).argmin(axis=1)])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    angle = np.arange(_OUTLINE_POINTS) * (2 * np.pi / _OUTLINE_POINTS)
    circle = np.cos(angle)[:, None] * across[:, None] + np.sin(angle)[:, None] * np.cross(axis, across)[:, None]
    ball = axis[:, None] * np.sqrt(1 - radius**2)[:, None, None] + radius[:, None, None] * circle
    in_cpf = ball * HEAD_HALF_M + HEAD_CENTRE_M
    world = np.einsum("nij,npj->npi", cpf.rotation, in_cpf) + cpf.translation[:, None]
    return camera.to_camera(world)


def _largest(values: Floats) -> Floats:
    """Maxima [N, 2] of closed curves [N, P, 2], by a parabola through the largest value and its neighbours.

    NaN places are left out, and only they: next to one the largest value itself counts. NaN for a curve without any.
    """
    filled = np.where(np.isnan(values), -np.inf, values)
    at = filled.argmax(axis=1)[:, None]
    left, top, right = (np.take_along_axis(filled, (at + step) % values.shape[1], axis=1)[:, 0] for step in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = (right - left) ** 2 / (8 * (2 * top - left - right))
    top = np.where(np.isfinite(top), top, np.nan)
    return top + np.where(np.isfinite(gain) & (gain > 0), gain, 0.0)
