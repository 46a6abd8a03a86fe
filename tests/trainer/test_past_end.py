"""Annotated actions that their video does not have: found before any work, with line, video and the likely cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gazetools.cli import app as cli_app
from gazetools.schemas.errors import DataFileError
from gazetools.trainer import train
from gazetools.trainer.data.anchors import resolve_anchors
from gazetools.trainer.data.survey import DataPlan, plan_data
from gazetools.trainer.plan.config import load_config
from tests.helpers.runs import Listener
from tests.trainer.conftest import FRAMES, HEADER, RATE, Study

END = FRAMES / RATE  # 5 s; the last frame is at 4.967 s
GOOD = [("P01_01", 2.0, 2.5), ("P01_01", 3.0, 3.5), ("P01_02", 2.2, 2.9), ("P01_02", 3.6, 4.2)]


def _csv(path: Path, rows: list[tuple[str, float, float]]) -> Path:
    lines = [f"{video},{start!r},{stop!r},0,3" for video, start, stop in rows]
    path.write_text(HEADER + "\n".join(lines) + "\n")
    return path


def _plan(study: Study, tmp_path: Path, rows: list[tuple[str, float, float]], **data: Any) -> DataPlan:
    path = str(_csv(tmp_path / "rows.csv", rows))
    config = load_config(study.config(tmp_path / "run", dataset_train=path, dataset_val=path, **data))
    return plan_data(config.experiment.data, resolve_anchors(config), compat=config.compat)


def _scaled(factor: float, digits: int | None = None) -> list[tuple[str, float, float]]:
    change: Callable[[float], float] = lambda t: round(t * factor, digits) if digits is not None else t * factor  # noqa: E731
    return [(video, change(start), change(stop)) for video, start, stop in GOOD]


LATE = {
    "one typing error: 30 s in a video of 5": ([*GOOD[:3], ("P01_02", 33.6, 34.2)], 1, "within it: correct the times"),
    "milliseconds": (_scaled(1000), 4, "look like milliseconds"),
    "microseconds": (_scaled(1e6), 4, "look like microseconds"),
    "frame numbers of the video": (_scaled(RATE, 0), 4, "look like frame numbers"),
    "frame numbers at 60 per second": (_scaled(60, 0), 4, "look like frame numbers"),
    "MM:SS in the place of HH:MM": (_scaled(60.5), 4, "look like MM:SS"),
    "a cut file: most rows of one video are behind its end": (
        [*GOOD[:2], ("P01_02", 4.0, 4.5), ("P01_02", 7.1, 8.0), ("P01_02", 9.0, 9.5), ("P01_02", 14.0, 15.5)],
        3,
        "go on to 15.5 s, its file ends at 4.967 s: the file was cut",
    ),
    "three frames behind the end": ([*GOOD, ("P01_01", END + 0.1, END + 0.4)], 1, "within it"),
}


@pytest.mark.parametrize("case", LATE)
def test_rows_past_the_end_stop_before_any_work_with_the_likely_cause(study: Study, tmp_path: Path, case: str) -> None:
    rows, count, cause = LATE[case]
    with pytest.raises(DataFileError) as caught:
        _plan(study, tmp_path, rows)
    text = str(caught.value)
    assert f"{count} of {len(rows)} actions of {tmp_path / 'rows.csv'} lie past the end of their video" in text
    assert cause in text and "experiment.data.past_end=drop" in text
    late = [(n, row) for n, row in enumerate(rows, start=2) if row[1] > END]
    for line, (video, start, _) in late[:5]:
        assert f"line {line} ({video}: {start:g} s" in text
    found = caught.value.details["rows"]
    assert [(row["row"], row["video_id"]) for row in found] == [(line, row[0]) for line, row in late]


IN_TIME = {
    "up to the last frame": (4.9, END),
    "rounded up by half a frame": (END - 0.01, END + 0.5 / RATE),
    "begins in the last frame, stops a frame late": (END - 1 / RATE, END + 0.9 / RATE),
}


@pytest.mark.parametrize("case", IN_TIME)
def test_rows_that_rounding_explains_are_tolerated(study: Study, tmp_path: Path, case: str) -> None:
    plan = _plan(study, tmp_path, [*GOOD, ("P01_01", *IN_TIME[case])])
    assert len(plan.train.clips) == 5 and plan.notes == ()


def test_rows_that_begin_inside_and_run_past_the_end_are_kept_and_named(study: Study, tmp_path: Path) -> None:
    plan = _plan(study, tmp_path, [*GOOD, ("P01_01", 4.0, 6.5)])
    assert len(plan.train.clips) == 5
    assert len(plan.notes) == 1 and "line 6 (P01_01: 4 s to 6.5 s" in plan.notes[0] and "kept" in plan.notes[0]


def test_an_observation_that_counts_back_from_a_late_stop_is_past_the_end_too(study: Study, tmp_path: Path) -> None:
    """Counted back from the action's end, 12 - 1 s, the clip would be read at 11 s of a video of 5 s."""
    rows = [*GOOD, ("P01_01", 4.0, 12.0)]
    assert len(_plan(study, tmp_path, rows, anchor="start").train.clips) == 5
    with pytest.raises(DataFileError, match="1 of 5 actions"):
        _plan(study, tmp_path, rows, anchor="end")


def test_rows_past_the_end_are_dropped_with_a_count_or_kept(study: Study, tmp_path: Path) -> None:
    rows = [*GOOD, ("P01_02", 33.6, 34.2)]
    dropped = _plan(study, tmp_path, rows, past_end="drop")
    assert (len(dropped.train.clips), dropped.train.counts["past_end"]) == (4, 1)
    assert dropped.validation[0].summary()["past_end"] == 1 and dropped.train.coverage == 1.0
    kept = _plan(study, tmp_path, rows, past_end="keep")
    assert (len(kept.train.clips), kept.train.counts["past_end"]) == (5, 0)


def test_a_dry_run_says_what_is_left_out_and_what_begins_before_the_video(study: Study, tmp_path: Path) -> None:
    path = str(_csv(tmp_path / "rows.csv", [*GOOD, ("P01_02", 33.6, 34.2), ("P01_02", 1.5, 2.0)]))
    config = study.config(tmp_path / "run", dataset_train=path, dataset_val=path, past_end="drop")
    listener = Listener()
    result = train(config, dry_run=True, progress=listener)
    counts = result.data["validation"]["start"]
    # 4 frames at 4 per second, 1 s before the action: those that begin before 2 s reach back behind frame 0
    assert (counts["rows"], counts["clips"], counts["past_end"], counts["begin_before_video"]) == (6, 5, 1, 1)
    said = " ".join(listener.said)
    assert "5 clips of 6 rows" in said and "left out: 1 past_end; of them 1 begin before their video" in said
    assert not (tmp_path / "run").exists()


def test_the_command_ends_with_exit_code_2_before_it_writes(study: Study, tmp_path: Path) -> None:
    path = str(_csv(tmp_path / "rows.csv", _scaled(1000)))
    config = tmp_path / "config.json"  # YAML reads JSON
    config.write_text(json.dumps(study.config(tmp_path / "run", dataset_train=path, dataset_val=path)))
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(cli_app.app, ["train", "--config", str(config), *more])
        assert isinstance(result.exception, DataFileError) and int(result.exception.exit_code) == 2
        assert not [path for path in tmp_path.rglob("run/**/*") if path.is_file()]


def test_a_video_whose_end_cannot_be_read_is_named(study: Study, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("P01_01", "P01_02"):
        (videos / f"{name}.mp4").write_bytes((study.root / "videos" / f"{name}.mp4").read_bytes())
    (videos / "P01_02.mp4").write_bytes(b"no video" * 100)
    plan = _plan(study, tmp_path, GOOD, base_path=str(videos))
    assert len(plan.notes) == 1 and "1 video(s) could not be opened" in plan.notes[0] and "P01_02" in plan.notes[0]


def test_frame_numbers_past_the_end_are_found_under_compat_vjepa2(study: Study, tmp_path: Path) -> None:
    """EPIC's numbers count 60 per second: in a file of 30 they point behind its end, though the times fit."""
    path = tmp_path / "epic.csv"
    head = "video_id,start_timestamp,stop_timestamp,start_frame,stop_frame,verb_class,noun_class\n"
    path.write_text(head + "P01_01,2.0,2.5,120,150,0,3\nP01_02,4.0,4.5,240,270,0,3\n")
    values = study.config(tmp_path / "run", dataset_train=str(path), dataset_val=str(path)) | {"compat": "vjepa2"}
    config = load_config(values)
    with pytest.raises(DataFileError, match=r"1 of 2 actions .* lie past the end"):
        plan_data(config.experiment.data, resolve_anchors(config), compat=config.compat)
