"""Only frames whose head boxes changed are computed again, and the store equals that of a full extraction."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gazetools
from gazetools.extraction import work
from gazetools.extraction.model.batches import BatchRunner
from gazetools.schemas.store import WORK_FOLDER
from gazetools.store import is_complete, open_store
from gazetools.store.pieces import PieceFolder
from tests.helpers.clips import write_boxes, write_clip
from tests.helpers.command_line import run_cli
from tests.helpers.equal_stores import assert_stores_equal

FRAMES, PIECE, BATCH = 40, 16, 4
"""`boxes` has people in all frames but 5 to 9. Batches: 0-3, 4 and 10-12, 13-15 | 16-19 ... | 32-35, 36-39."""
Row = dict[str, str]


@dataclass(frozen=True)
class Change:
    """A changed box file, and the frames that must be computed again."""

    why: str
    change: Callable[[list[Row]], list[Row]]
    computed: set[int]
    options: tuple[str, ...] = ()
    """Options of the second run only."""


def _of(frames: set[int], track: str | None, **cells: str) -> Callable[[list[Row]], list[Row]]:
    """Replace cells of the rows of `frames` and of one track, or all."""

    def change(rows: list[Row]) -> list[Row]:
        hit = [int(row["frame"]) in frames and track in (None, row["track_id"]) for row in rows]
        return [row | cells if found else row for row, found in zip(rows, hit, strict=True)]

    return change


def _added(frame: int, track: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [*rows, rows[0] | {"frame": str(frame), "track_id": track}]


def _without(frames: set[int], *tracks: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [row for row in rows if not (int(row["frame"]) in frames and row["track_id"] in tracks)]


ALL = set(range(FRAMES))
CHANGES = [
    Change("one box moved: its batch", _of({21}, "1", xmin="12"), {20, 21, 22, 23}),
    Change("first frame of all", _of({0}, "7", ymax="40"), {0, 1, 2, 3}),
    Change("a batch around frames without people", _of({11}, "1", xmin="12"), {4, 10, 11, 12}),
    Change("the short batch at the end of a piece", _of({14}, "1", xmin="12"), {13, 14, 15}),
    Change("ids only, the order of people stays", _of(ALL, "7", track_id="9"), set()),
    Change("ids swapped: the order of people is another one", _of({30}, "1", track_id="8"), {28, 29, 30, 31}),
    Change("a third person", _added(25, "8"), {24, 25, 26, 27}),
    Change("one of two people gone", _without({25}, "7"), {24, 25, 26, 27}),
    Change("a frame lost all people: later batches of its piece move", _without({17}, "1", "7"), {*range(16, 32)} - {17}),
    Change("a frame got its first person: likewise, and the frame is decoded", _added(7, "1"), {4, 7, *range(10, 16)}),
    Change("less than float32 holds", _of({21}, "1", xmin="9.60000001"), set()),
    Change("another order of rows in the file", lambda rows: rows[::-1], set()),
    Change("another choice of people", lambda rows: rows, set(range(FRAMES)) - set(range(5, 10)), ("--people", "1")),
    Change("gaps of 5 frames filled", lambda rows: rows, set(range(4, 16)), ("--fill-gaps", "5")),
    Change("everything", _of(ALL, "1", xmin="12"), set(range(FRAMES)) - set(range(5, 10))),
]  # fmt: skip


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PIECE_FRAMES", PIECE)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Index of every frame that is given to the model, read from the bar at the top of the clip's pictures."""
    found: list[int] = []
    begin = BatchRunner.begin

    def noting(self: BatchRunner, images: list[Any], prompts: list[Any]) -> Any:
        found.extend(len(prompt.track_id) for prompt in prompts)
        return begin(self, images, prompts)

    monkeypatch.setattr(BatchRunner, "begin", noting)
    return found


def _changed(boxes: Path, path: Path, change: Callable[[list[Row]], list[Row]]) -> Path:
    with boxes.open(newline="") as file:
        rows = change(list(csv.DictReader(file)))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["frame", "track_id", "xmin", "ymin", "xmax", "ymax"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def _arguments(clip: Path, model: Path, store: Path, boxes: Path, *more: str) -> list[str]:
    arguments = ["extract", str(clip), "-o", str(store), "--heads", f"file:{boxes}", "--model", str(model), "--json"]
    return [*arguments, "--batch-size", str(BATCH), "--device", "cpu", *more]


def _run(*arguments: str) -> dict[str, Any]:
    done = run_cli(*arguments)
    assert done.exit_code == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout)["items"][0])


@pytest.mark.parametrize("case", CHANGES, ids=[case.why for case in CHANGES])
def test_changed_boxes_give_the_store_of_a_full_extraction(
    clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path, small_pieces: None, seen: list[int], case: Change
) -> None:
    new = _changed(boxes, tmp_path / "new.csv", case.change)
    _run(*_arguments(clip, tiny_model, tmp_path / "s", boxes))
    first = is_complete(tmp_path / "s", "clip")
    assert first is not None
    seen.clear()
    item = _run(*_arguments(clip, tiny_model, tmp_path / "s", new, "--overwrite", *case.options))
    assert len(seen) == len(case.computed), "frames that the model saw"
    assert (item["status"], item["frames"], item["resumed_frames"]) == ("done", FRAMES, 0)
    assert item["taken_over_frames"] == FRAMES - len(case.computed)
    words = f"{FRAMES - len(case.computed)} of {FRAMES} frames taken over, {len(case.computed)} computed again"
    assert item["notes"] == [f"head boxes changed: {words}"]
    _run(*_arguments(clip, tiny_model, tmp_path / "full", new, *case.options))
    assert_stores_equal(tmp_path / "s" / "clip.h5", tmp_path / "full" / "clip.h5")
    assert not (tmp_path / "s" / WORK_FOLDER).exists()
    with open_store(tmp_path / "s" / "clip.h5") as store, open_store(tmp_path / "full" / "clip.h5") as full:
        origin = store.provenance.taken_over
        assert origin is not None
        assert (origin.payload_sha256, origin.options_key) == (first.payload_sha256, first.options_key)
        assert origin.rows == int((~np.isin(store.row_frame, list(case.computed))).sum())
        assert full.provenance.taken_over is None
        assert (store.provenance.options_key, store.provenance.heads) == (
            full.provenance.options_key,
            full.provenance.heads,
        )
    # the same command again does nothing, and the report of a whole run counts what it took over
    assert _run(*_arguments(clip, tiny_model, tmp_path / "s", new, *case.options))["status"] == "complete"
