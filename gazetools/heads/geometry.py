"""The box of a head from body keypoints or a face, also for people seen from behind."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR, LEFT_SHOULDER, RIGHT_SHOULDER = range(7)
LEFT_HIP, RIGHT_HIP = 11, 12
"""COCO's order of keypoints (17 per person), which is that of ViTPose."""

MIN_KEYPOINT_SCORE = 0.3

# Rounded means of adults in cm from common anthropometric tables: chin to crown 23, ear to ear 14.5, nose tip to ear
# 12.5, pupil to pupil 6.3, outer corner of the eye to ear 9. Shoulder to shoulder 36 is a guess of where COCO's
# annotators put the joints (the bones are 40 apart). Their quotients turn a distance into the height of the head.
_HEAD_CM = 23.0
_DISTANCES_CM = (
    (LEFT_EAR, RIGHT_EAR, 14.5),
    (NOSE, LEFT_EAR, 12.5),
    (NOSE, RIGHT_EAR, 12.5),
    (LEFT_EYE, RIGHT_EYE, 6.3),
    (LEFT_EYE, LEFT_EAR, 9.0),
    (RIGHT_EYE, RIGHT_EAR, 9.0),
)
_SHOULDERS_CM = 36.0
_HEAD_ABOVE_SHOULDERS_CM = 25.0
"""Distance from the line of the shoulders up to the middle of the head."""
_MIN_SHARE_OF_PERSON = 0.1
"""A head is at least this share of the person's box: 23 of 175 cm standing, more for any other pose but raised arms."""
_WIDTH, _HEIGHT = 0.95, 1.1
"""Sides of the box in heights of the head: hair on top; a profile (22 cm) is nearly as wide as a head is high."""

Keypoints = npt.NDArray[np.float64]


def head_from_keypoints(
    points_xy: Keypoints, scores: npt.NDArray[np.float64], person_xyxy: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    """The head's box [4] (xmin, ymin, xmax, ymax) in pixels from COCO keypoints [17, 2] with scores [17].

    Size: every known distance between two keypoints (ears, eyes, nose) times its quotient to a head's height; the
    largest counts, because turning away only ever shortens a distance in the picture. Ears are visible from behind,
    so the rule needs no face. Middle: between the ears; with one ear a little towards the nose; with none at the eyes.

    With fewer than two points of the head the shoulders serve: width and middle from them, up is at right angles to
    their line on the side away from the hips. None where the shoulders are not known either.

    >>> points = np.zeros((17, 2)); points[LEFT_EAR], points[RIGHT_EAR] = (129, 80), (100, 80)
    >>> scores = np.zeros(17); scores[[LEFT_EAR, RIGHT_EAR]] = 0.9
    >>> head_from_keypoints(points, scores, np.array([50., 40., 180., 400.])).round(1).tolist()  # from behind
    [92.6, 54.7, 136.4, 105.3]
    """
    known = scores >= MIN_KEYPOINT_SCORE
    least_height = _MIN_SHARE_OF_PERSON * float(person_xyxy[3] - person_xyxy[1])
    sizes = [
        float(np.linalg.norm(points_xy[a] - points_xy[b])) * _HEAD_CM / apart_cm
        for a, b, apart_cm in _DISTANCES_CM
        if known[a] and known[b]
    ]
    if sizes:
        return _box_around(_middle_of_head(points_xy, known), max(*sizes, least_height))
    if not (known[LEFT_SHOULDER] and known[RIGHT_SHOULDER]):
        return None
    shoulders = points_xy[[LEFT_SHOULDER, RIGHT_SHOULDER]]
    apart = float(np.linalg.norm(shoulders[0] - shoulders[1]))
    height = max(apart * _HEAD_CM / _SHOULDERS_CM, least_height)
    if known[:LEFT_SHOULDER].any():  # one point of the head: it is there
        return _box_around(points_xy[:LEFT_SHOULDER][known[:LEFT_SHOULDER]].mean(axis=0), height)
    up = _up(points_xy, known, apart)
    return _box_around(shoulders.mean(axis=0) + up * height * _HEAD_ABOVE_SHOULDERS_CM / _HEAD_CM, height)


def _middle_of_head(points_xy: Keypoints, known: npt.NDArray[np.bool_]) -> Keypoints:
    ears = [points_xy[ear] for ear in (LEFT_EAR, RIGHT_EAR) if known[ear]]
    face = [points_xy[i] for i in (NOSE, LEFT_EYE, RIGHT_EYE) if known[i]]
    if len(ears) == 2 or not face:
        return np.asarray(np.mean(ears, axis=0))
    if ears:
        # In a profile the ear lies behind the middle between nose tip and back of the head, 1.5 of 12.5 cm.
        return np.asarray(ears[0] + 0.12 * (np.mean(face, axis=0) - ears[0]))
    eyes = [points_xy[eye] for eye in (LEFT_EYE, RIGHT_EYE) if known[eye]]
    return np.asarray(np.mean(eyes or face, axis=0))


def _up(points_xy: Keypoints, known: npt.NDArray[np.bool_], apart: float) -> Keypoints:
    """Unit vector from the shoulders to the head."""
    across = points_xy[RIGHT_SHOULDER] - points_xy[LEFT_SHOULDER]
    up = np.array([0.0, -1.0])
    hips = [points_xy[hip] for hip in (LEFT_HIP, RIGHT_HIP) if known[hip]]
    if hips:
        trunk = points_xy[[LEFT_SHOULDER, RIGHT_SHOULDER]].mean(axis=0) - np.mean(hips, axis=0)
        length = float(np.linalg.norm(trunk))
        up = trunk / length if length > 0 else up
    # A line of shoulders that is seen from the side says nothing about up.
    if apart * apart > 0 and abs(float(across @ up)) < 0.5 * apart:
        normal = np.array([across[1], -across[0]]) / apart
        up = normal if float(normal @ up) > 0 else -normal
    return up


def _box_around(middle_xy: Keypoints, height: float) -> npt.NDArray[np.float64]:
    half = np.array([_WIDTH, _HEIGHT]) * height / 2
    return np.concatenate((middle_xy - half, middle_xy + half)).astype(np.float64)


def head_from_face(face_xyxy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The head's box [..., 4] from a face's (forehead to chin, as in WIDER FACE).

    A head is about a quarter wider (ears, hair) and a third higher, all of it above.
    """
    width = face_xyxy[..., 2] - face_xyxy[..., 0]
    height = face_xyxy[..., 3] - face_xyxy[..., 1]
    grown = face_xyxy.astype(np.float64)
    grown[..., 0] -= 0.125 * width
    grown[..., 2] += 0.125 * width
    grown[..., 1] -= 0.33 * height
    return grown


def inside_frame(box_xyxy: npt.NDArray[np.float64], width: int, height: int) -> npt.NDArray[np.float64] | None:
    """`box_xyxy` cut at the frame's edges; None where less than a pixel remains or most of the box lies outside."""
    cut = np.clip(box_xyxy, 0, [width, height, width, height])
    sides, whole = cut[2:] - cut[:2], box_xyxy[2:] - box_xyxy[:2]
    if (sides < 1).any() or float(sides.prod()) < 0.25 * float(whole.prod()):
        return None
    return np.asarray(cut, np.float64)
