"""Head boxes from keypoints and faces, against heads whose size and place are known."""

from __future__ import annotations

import numpy as np
import pytest

from gazetools.heads import geometry as g

PERSON = np.array([0.0, 0.0, 200.0, 600.0])

# A standing adult in cm, x to the person's left, y down, z away from the person's face; the middle of the head at 0.
BODY_CM = {
    g.NOSE: (0, 1, -10.5), g.LEFT_EYE: (3.15, -1.5, -8.5), g.RIGHT_EYE: (-3.15, -1.5, -8.5),
    g.LEFT_EAR: (7.25, 0, 0), g.RIGHT_EAR: (-7.25, 0, 0), g.LEFT_SHOULDER: (18, 25, 1), g.RIGHT_SHOULDER: (-18, 25, 1),
    g.LEFT_HIP: (12, 75, 1), g.RIGHT_HIP: (-12, 75, 1),
}  # fmt: skip


def _seen(turn_degrees: float, known: list[int], *, scale: float = 3.0, middle: tuple[float, float] = (100, 60)):  # type: ignore[no-untyped-def]
    """Orthographic picture of BODY_CM turned about the vertical: (points [17, 2], scores [17])."""
    angle = np.radians(turn_degrees)
    points, scores = np.zeros((17, 2)), np.zeros(17)
    for index, (x, y, z) in BODY_CM.items():
        points[index] = np.array([np.cos(angle) * x + np.sin(angle) * z, y]) * scale + middle
    scores[known] = 0.9
    return points, scores


FACE = [g.NOSE, g.LEFT_EYE, g.RIGHT_EYE]
EARS = [g.LEFT_EAR, g.RIGHT_EAR]
SHOULDERS = [g.LEFT_SHOULDER, g.RIGHT_SHOULDER]
VIEWS = [
    ("from the front", 0, FACE + EARS + SHOULDERS),
    ("from behind: ears and shoulders only", 180, EARS + SHOULDERS),
    ("profile: one ear, one eye, nose", 90, [g.NOSE, g.LEFT_EYE, g.LEFT_EAR]),
    ("half turned", 45, [*FACE, g.LEFT_EAR, *SHOULDERS]),
    ("face only, ears under hair", 0, FACE),
    ("from behind, ears hidden: shoulders", 180, SHOULDERS),
    ("shoulders from the side, hips known", 75, [*SHOULDERS, g.LEFT_HIP, g.RIGHT_HIP]),
]


@pytest.mark.parametrize(("turn", "known"), [v[1:] for v in VIEWS], ids=[v[0] for v in VIEWS])
def test_the_box_lies_on_the_head_from_every_side(turn: float, known: list[int]) -> None:
    points, scores = _seen(turn, known)
    box = g.head_from_keypoints(points, scores, PERSON)
    assert box is not None
    head_cm = (box - np.tile([100, 60], 2)) / 3.0
    middle, size = (head_cm[:2] + head_cm[2:]) / 2, head_cm[2:] - head_cm[:2]
    assert np.abs(middle).max() < 6, f"the middle is {middle} cm off"
    assert 16 < size[0] < 30 and 18 < size[1] < 33, f"the head is {size} cm"


def test_leaning_people_have_their_heads_above_their_shoulders_along_the_trunk() -> None:
    points, scores = _seen(180, [*SHOULDERS, g.LEFT_HIP, g.RIGHT_HIP])
    turned = points - [100, 60]
    points = np.stack((-turned[:, 1], turned[:, 0]), axis=1) + 300  # lying, head to the right
    box = g.head_from_keypoints(points, scores, np.array([0.0, 200, 400, 400]))
    assert box is not None
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [300, 300], atol=15)


@pytest.mark.parametrize("known", [[], [g.NOSE], [g.LEFT_SHOULDER], [g.LEFT_HIP, g.RIGHT_HIP]])
def test_nothing_is_made_up_where_the_head_is_not_known(known: list[int]) -> None:
    assert g.head_from_keypoints(*_seen(0, known), PERSON) is None


def test_weak_keypoints_do_not_count() -> None:
    points, scores = _seen(0, FACE + EARS)
    scores[g.NOSE], points[g.NOSE] = 0.1, (900, 900)  # an occluded nose anywhere
    box = g.head_from_keypoints(points, scores, PERSON)
    assert box is not None
    assert box[2] < 200


def test_a_face_grows_upwards_and_sideways() -> None:
    head = g.head_from_face(np.array([[100.0, 100, 140, 160]]))[0]
    np.testing.assert_allclose(head, [95, 80.2, 145, 160])


INSIDE = [
    ([10, 10, 30, 30], [10, 10, 30, 30], "inside"),
    ([-10, 10, 30, 30], [0, 10, 30, 30], "cut at the edge"),
    ([-90, 10, 10, 30], None, "only a tenth is left"),
    ([200, 10, 230, 30], None, "outside"),
    ([10, 10, 10.5, 30], None, "thinner than a pixel"),
]


@pytest.mark.parametrize(("box", "wanted", "why"), INSIDE, ids=[case[2] for case in INSIDE])
def test_boxes_are_cut_at_the_frame_or_dropped(box: list[float], wanted: list[float] | None, why: str) -> None:
    result = g.inside_frame(np.array(box, np.float64), 100, 50)
    assert (None if result is None else result.tolist()) == wanted, why
