"""Messages quote little of a file: one helper cuts it, and every reader of text tables uses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazetools.annotations.ego4d import read_ego4d_videos
from gazetools.annotations.segments import read_segments
from gazetools.egoexo.take import UnusableTake
from gazetools.egoexo.takes_file import read_takes_file
from gazetools.egoexo.trajectory import read_device_poses
from gazetools.io.tables import read_table
from gazetools.schemas.errors import GazetoolsError
from gazetools.schemas.excerpt import MAX_EXCERPT, excerpt, excerpt_of_names
from gazetools.schemas.training_data import GazePointSettings
from gazetools.trainer.data.maps.points import read_gaze_points


@given(st.text(max_size=2000), st.integers(1, 1000))
def test_an_excerpt_is_short_and_on_one_line(text: str, limit: int) -> None:
    quoted = excerpt(text, limit)
    assert len(quoted) <= MAX_EXCERPT + 40
    assert quoted.isprintable()
    if len(text) <= min(limit, MAX_EXCERPT) and text.isprintable() and not set(text) & set("'\\"):
        assert quoted == f"'{text}'"


@given(st.lists(st.text(max_size=300), max_size=300), st.integers(1, 1000))
def test_names_are_cut_too(names: list[str], limit: int) -> None:
    assert len(excerpt_of_names(names, limit)) <= MAX_EXCERPT + 40


ACTIONS = b"video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
LONG = {
    "one line": b"x" * 300_000,
    "many columns": b",".join(b"column%d" % n for n in range(40_000)) + b"\n",
    "long ids": ACTIONS + b"".join(b"%s%d,1,2,0,0\n" % (b"v" * 5000, n) for n in range(30)),
    "long times": ACTIONS + b"".join(b"v,%s,2,0,0\n" % (b"9" * 5000 + b"x") for n in range(30)),
    "long classes": ACTIONS + b"".join(b"v,1,2,%s,0\n" % (b"c" * 5000) for n in range(30)),
    "gaze points": b"time,x,y\n" + b"".join(b"%s,1,2\n" % (b"t" * 5000) for n in range(30)),
    "poses": b"graph_uid,tracking_timestamp_us,tx_world_device\n" + b"g" * 9000 + b",1,2\n",
    "bytes": bytes(range(1, 256)) * 2000,
    "json": b'{"annotations": [' + b'{"bbox": [1, 2, 3, 4]}, ' * 20_000 + b"]}",
}
READERS: dict[str, Callable[[Path], object]] = {
    "table": lambda path: read_table(path, required=("a", "b")),
    "annotations": read_segments,
    "times": lambda path: read_segments(path, labelled=False),
    "gaze points": lambda path: read_gaze_points(path, GazePointSettings()),
    "recordings": lambda path: read_device_poses(path, np.zeros(3, np.int64)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", LONG)
def test_readers_repeat_little_of_a_file(tmp_path: Path, content: str, reader: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(LONG[content])
    try:
        READERS[reader](path)
    except GazetoolsError as error:
        assert len(str(error).encode()) < 2000


def _keysteps(**changes: object) -> dict[str, object]:
    segment = {"start_time": 0.5, "end_time": 2.0, "step_unique_id": 3} | changes
    return {"annotations": {"uid": {"take_name": "take", "segments": [segment] * 30}}}


def _actions(**changes: object) -> dict[str, object]:
    clip = {"video_uid": "v", "clip_parent_start_sec": 0, "action_clip_start_sec": 1, "action_clip_end_sec": 2}
    return {"clips": [clip | {"verb_label": 1, "noun_label": 2} | changes] * 30}


def _take(**changes: object) -> list[dict[str, object]]:
    return [{"take_name": "take", "take_uid": "uid", "root_dir": "takes/take"} | changes]


MUCH = "long " * 2000
LONG_JSON: dict[str, object] = {
    "step": _keysteps(step_unique_id=MUCH),
    "list of steps": _keysteps(step_unique_id=[MUCH, MUCH]),
    "time": _keysteps(start_time=MUCH),
    "uid": {"annotations": {MUCH: {"take_name": "take"}}},
    "name": {"annotations": {"uid": {"take_name": f"../{MUCH}", "segments": []}}},
    "label": _actions(verb_label=MUCH),
    "start": _actions(action_clip_start_sec=MUCH),
    "video": _actions(video_uid=f"../{MUCH}"),
    "take": _take(take_name=MUCH + "/b"),
    "take uid": _take(take_name=None, take_uid=MUCH),
    "folder": _take(root_dir=[MUCH]),
    "duration": {"videos": [{"video_uid": "v", "duration_sec": MUCH}]},
}


@pytest.mark.parametrize("content", LONG_JSON)
def test_readers_of_json_repeat_little_of_a_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "takes.json"
    path.write_text(json.dumps(LONG_JSON[content]))
    messages = []
    for read in (read_segments, read_ego4d_videos, lambda path: read_takes_file(path.parent)):
        try:
            result = read(path)
        except GazetoolsError as error:
            messages.append(str(error))
        else:
            messages += [one.message for one in result[1] if isinstance(one, UnusableTake)]
    assert messages
    assert all(len(message) < 2000 for message in messages)
