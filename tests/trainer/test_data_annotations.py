"""Actions as read: times, columns by name, broken rows by their line, class ids, where videos lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gazetools.annotations.segment import Segment
from gazetools.annotations.segments import parse_timestamp, read_segments
from gazetools.schemas.errors import DataFileError, UsageError
from gazetools.trainer.data.labels import LabelSpace
from gazetools.trainer.data.videos import find_videos
from tests.trainer.conftest import HEADER


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:01:02.50", 62.5), ("01:00:00", 3600.0), ("2:03.25", 123.25), ("7.5", 7.5), ("00:00:00.00", 0.0)],
)
def test_timestamps(text: str, seconds: float) -> None:
    assert parse_timestamp(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "abc", "-1", "1:99", "nan", "inf", "1:2:3:4", "00:60:00", "-00:00:02.50", "00:-00:01", "-0:30"]
)
def test_no_timestamps(text: str) -> None:
    with pytest.raises(ValueError, match="timestamp"):
        parse_timestamp(text)


def test_columns_by_name_whatever_their_order_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeffnoun_class, verb_class ,x,video_id,stop_timestamp,start_timestamp\n7, 2,?,v,3.0,1.0\n\n")
    (segment,) = read_segments(path)
    assert segment.classes == {"verb": 2, "noun": 7, "action": (2, 7)}
    assert (segment.video_id, segment.start_seconds, segment.stop_seconds, segment.row) == ("v", 1.0, 3.0, 2)


def test_one_action_column_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("video_id,start_timestamp,stop_timestamp,action_class\ntake/cam01,1,2,9\n")
    (segment,) = read_segments(path)
    assert segment.classes == {"action": 9}
    assert LabelSpace.of([segment]).counts == {"action": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("v,1,2,0\n", "line 2: 4 fields"),
        ("v,2,1,0,0\n", "line 2: stop_timestamp 1 is before"),
        ("v,1,2,x,0\n", "line 2: verb_class = 'x'"),
        ("v,1,2,0,-3\n", "line 2: noun_class = '-3'"),
        ("../v,1,2,0,0\n", "line 2"),
        ("", "no rows"),
        ('"v,1,2,0,0\n', "not a CSV file"),
    ],
)
def test_broken_rows_are_named_with_their_line(tmp_path: Path, body: str, message: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(HEADER + body)
    with pytest.raises(UsageError) as caught:
        read_segments(path)
    assert message in str(caught.value) and "broken.csv" in str(caught.value)


def test_a_missing_column_names_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER.replace("verb_class", "verb_clas") + "v,1,2,0,0\n")
    with pytest.raises(DataFileError, match=r"verb_class \(nearest: verb_clas\)"):
        read_segments(path)


EPIC = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
# (columns renamed by hand, None: removed; what is suggested for those that are missing)
BY_HAND: list[tuple[dict[str, str | None], dict[str, str]]] = [
    ({"start_timestamp": "start_time"}, {"start_timestamp": "start_time"}),
    ({"start_timestamp": "start_time", "stop_timestamp": "end_time"},
     {"start_timestamp": "start_time", "stop_timestamp": "end_time"}),
    ({"start_timestamp": "t_start", "stop_timestamp": "t_end"},
     {"start_timestamp": "t_start", "stop_timestamp": "t_end"}),
    ({"start_timestamp": "startTime", "stop_timestamp": "Stop Time (s)"},
     {"start_timestamp": "startTime", "stop_timestamp": "Stop Time (s)"}),
    ({"start_timestamp": "from", "stop_timestamp": "to"}, {"start_timestamp": "from", "stop_timestamp": "to"}),
    ({"start_timestamp": "action_clip_start_sec"}, {"start_timestamp": "action_clip_start_sec"}),
    ({"start_timestamp": "strat_timestamp", "stop_timestamp": "sotp_timestamp"},
     {"start_timestamp": "strat_timestamp", "stop_timestamp": "sotp_timestamp"}),
    ({"start_timestamp": None, "stop_timestamp": "stop_timestmp"}, {"stop_timestamp": "stop_timestmp"}),
    ({"start_timestamp": None}, {}),  # narration_timestamp and start_frame mean something else
    ({"stop_timestamp": None}, {}),
    ({"verb_class": None, "noun_class": None}, {}),  # verb and noun are texts, all_noun_classes a list
    ({"verb_class": "class_verb", "noun_class": "nounclass"}, {"verb_class": "class_verb", "noun_class": "nounclass"}),
    ({"verb_class": "verb_label", "noun_class": "noun_label"},
     {"verb_class": "verb_label", "noun_class": "noun_label"}),
    ({"video_id": "video_uid"}, {"video_id": "video_uid"}),
    ({"video_id": None}, {}),  # narration_id and participant_id are no videos
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), BY_HAND)
def test_columns_changed_by_hand_are_recognised(
    tmp_path: Path, changes: dict[str, str | None], expected: dict[str, str]
) -> None:
    header = [changes.get(name, name) for name in EPIC.split(",")]
    path = tmp_path / "mine.csv"
    path.write_text(",".join(name for name in header if name is not None) + "\n")
    with pytest.raises(DataFileError) as caught:
        read_segments(path)
    listed = caught.value.message.split("lacks the column(s) ")[1].split("; it has")[0]
    for name in changes:
        assert (f"{name} (nearest: {expected[name]})" if name in expected else name) in listed.split(", "), listed


def test_an_action_under_another_name_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("video_id,start_timestamp,stop_timestamp,action_id\nv,1,2,3\n")
    with pytest.raises(DataFileError, match="'action_id' may be action_class"):
        read_segments(path)


def segment(classes: dict[str, Any]) -> Segment:
    return Segment(row=2, video_id="v", start_seconds=1.0, stop_seconds=2.0, classes=classes)


def test_class_ids_are_sorted_whatever_the_order_of_rows() -> None:
    rows = [segment({"verb": v, "noun": n, "action": (v, n)}) for v, n in ((9, 1), (2, 30), (2, 4), (9, 1))]
    space = LabelSpace.of(rows)
    assert space.ids == {"verb": [2, 9], "noun": [1, 4, 30], "action": [(2, 4), (2, 30), (9, 1)]}
    assert LabelSpace.of(reversed(rows)) == space
    assert space.encode(rows[0]) == {"verb": 1, "noun": 0, "action": 2}
    assert not space.covers(segment({"verb": 9, "noun": 30, "action": (9, 30)}))


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("P01/videos/P01_02.MP4", 0), ("P01/P01_02.MP4", 1), ("P01_02.mkv", None), ("P01_02.mp4", 0)],
)
def test_video_layouts(tmp_path: Path, name: str, file_format: int | None) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert find_videos(tmp_path, ["P01_02", "P01_03"], file_format) == {"P01_02": tmp_path / name}
