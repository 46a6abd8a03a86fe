"""Pairs of people, and the rules for looking at somebody, mutual gaze and a shared target."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.exchange.table import write_gaze_table
from gazetools.metrics.social_gaze import in_boxes, pairs_within
from gazetools.schemas.table import TableOptions
from tests.exchange.tables import read_csv
from tests.helpers.stores import make_video

HEADS = {1: (0.0, 0.0, 0.25, 0.5), 2: (0.75, 0.0, 1.0, 0.5), 3: (0.375, 0.5, 0.625, 1.0)}
"""Head boxes of three people on a map of 8x8 cells."""
ON_HEAD = {1: (1, 0), 2: (1, 7), 3: (6, 4)}
"""A cell (row, column) of each head."""
TABLE_CELL = (7, 0)


def test_pairs_are_all_ordered_pairs_of_each_frame() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        frame = np.sort(rng.integers(0, 6, rng.integers(0, 9)))
        expected = [
            (a, b) for a, b in permutations(range(len(frame)), 2) if frame[a] == frame[b]
        ]  # permutations are in the order of (a, b)
        pairs = pairs_within(frame.astype(np.int64))
        assert list(zip(pairs.looker.tolist(), pairs.other.tolist(), strict=True)) == expected
        assert np.array_equal(pairs.looker[pairs.back], pairs.other)
        assert np.array_equal(pairs.other[pairs.back], pairs.looker)


def test_a_point_on_the_left_or_upper_edge_is_in_a_box_and_one_on_the_others_is_not() -> None:
    box = np.array([[0.25, 0.25, 0.5, 0.5]])
    for point, inside in (((0.25, 0.25), True), ((0.5, 0.3), False), ((0.3, 0.5), False), ((math.nan, 0.3), False)):
        assert in_boxes(np.array([point]), box).tolist() == [inside]


def _pairs(tmp_path: Path, targets: dict[int, Any], inout: dict[int, float], **options: Any) -> dict[tuple, dict]:
    """Pairs of one frame by (looker, other): each person's map has 0.75 at the target's cell, 0.25 at its right."""

    def make_map(_: int, track: int) -> Any:
        values = np.zeros((8, 8))
        row, column = targets[track]
        values[row, column] = 0.75
        values[row, (column + 1) % 8] = 0.25
        return values

    def place_heads(rows: dict[str, Any]) -> None:
        rows["box_xyxy"] = np.array([HEADS[track] for track in rows["track_id"].tolist()], np.float32)

    make_video(
        tmp_path / "store",
        people={0: sorted(targets)},
        frame_count=1,
        size_hw=(8, 8),
        make_map=make_map,
        make_inout=lambda _, track: inout.get(track, 0.9),
        change_rows=place_heads,
    )
    social = tmp_path / "pairs.csv"
    write_gaze_table(tmp_path / "store", tmp_path / "gaze.csv", options=TableOptions(social=str(social), **options))
    return {(int(row["track_id"]), int(row["other_id"])): row for row in read_csv(social)}


@pytest.mark.parametrize(
    ("targets", "inout", "options", "looks", "mutual", "shared", "reason"),
    [
        ({1: 2, 2: 1}, {}, {}, {(1, 2), (2, 1)}, {(1, 2), (2, 1)}, set(), "both look at each other"),
        ({1: 2, 2: 3, 3: 1}, {}, {}, {(1, 2), (2, 3), (3, 1)}, set(), set(), "a ring: nobody is looked back at"),
        (
            {1: 3, 2: 3, 3: 1},
            {},
            {},
            {(1, 3), (2, 3), (3, 1)},
            {(1, 3), (3, 1)},
            {(1, 2), (2, 1)},
            "two look at the third, who looks back at one",
        ),
        ({1: "table", 2: "table"}, {}, {}, set(), set(), {(1, 2), (2, 1)}, "a shared target that is nobody's head"),
        ({1: 2, 2: 1}, {2: 0.4}, {}, {(1, 2)}, set(), set(), "a target outside the frame is nobody's head"),
        ({1: 2, 2: 1}, {2: math.nan}, {}, {(1, 2), (2, 1)}, {(1, 2), (2, 1)}, set(), "unknown in/out counts as inside"),
        ({1: 2, 2: 1}, {2: 0.4}, {"look_inout": 0.3}, {(1, 2), (2, 1)}, {(1, 2), (2, 1)}, set(), "a lower threshold"),
        ({1: "table", 2: "table"}, {1: 0.1}, {}, set(), set(), set(), "shared needs both inside"),
        ({1: 3, 2: 1}, {}, {"look_mass": 0.9}, {(2, 1)}, set(), set(), "0.75 of 1 is on head 3's right edge"),
        ({1: 2, 2: 3, 3: 2}, {}, {"shared_distance": 1.0}, {(1, 2), (2, 3), (3, 2)}, {(2, 3), (3, 2)}, None, "wide"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_who_looks_at_whom(
    tmp_path: Path, targets: Any, inout: Any, options: Any, looks: Any, mutual: Any, shared: Any, reason: str
) -> None:
    cells = {track: TABLE_CELL if at == "table" else ON_HEAD[at] for track, at in targets.items()}
    pairs = _pairs(tmp_path, cells, inout, **options)
    assert set(pairs) == set(permutations(targets, 2))
    for column, wanted in (("looks_at", looks), ("mutual", mutual), ("shared_target", shared)):
        if wanted is not None:
            assert {key for key, row in pairs.items() if row[column] == "true"} == wanted, reason


def test_masses_distances_and_overlaps_of_pairs(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, {1: (6, 4), 2: (6, 3)}, {})
    one, other = pairs[1, 2], pairs[2, 1]
    assert float(one["peak_distance"]) == float(other["peak_distance"]) == 1 / 8
    assert float(one["overlap"]) == float(other["overlap"]) == 0.25  # min(0, 0.75) + min(0.75, 0.25) + min(0.25, 0)
    assert float(one["mass_on_head"]) == 0.0
    pairs = _pairs(tmp_path / "b", {1: (0, 5), 2: (0, 7)}, {})
    assert float(pairs[1, 2]["mass_on_head"]) == 0.25  # only the cell to the right of its peak
    assert (pairs[1, 2]["peak_on_head"], pairs[1, 2]["looks_at"]) == ("false", "false")
    assert float(pairs[2, 1]["mass_on_head"]) == 0.25  # column 7 and, around the edge, column 0


@pytest.mark.parametrize(
    ("given", "file"),
    [({"look_mass": 0.2}, "social"), ({"shared_distance": 0.3}, "social"), ({"areas_format": "coco"}, "areas")],
)
def test_a_choice_about_a_table_that_nobody_wants_is_refused(given: dict[str, Any], file: str) -> None:
    with pytest.raises(ValueError, match=f"{file} is missing"):
        TableOptions(**given)
    assert TableOptions(**given, **{file: "file.csv"})
