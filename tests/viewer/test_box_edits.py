"""Edits of head boxes: what each does to the table and the history, what is refused, and what a save leaves behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from gazetools.heads.box_file import HEADER
from gazetools.heads.corrections import (
    CorrectedBoxes,
    as_csv,
    history_path,
    read_corrected,
    read_corrections,
    sorted_boxes,
)
from gazetools.heads.files import BoxVideo, read_heads
from gazetools.heads.spec import heads_for_video
from gazetools.schemas.base import parse_settings
from gazetools.schemas.box_edits import BoxSave, CorrectionBase
from gazetools.schemas.errors import GazetoolsError, HeadsError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.store.lock import BusyError, locked
from gazetools.viewer import box_saving
from gazetools.viewer.box_edits import EditedBoxes
from gazetools.viewer.box_saving import StaleError, present_boxes, save_boxes
from gazetools.viewer.box_source import BoxSource, pixels_of
from tests.helpers.stores import provenance_of

SIZE: BoxVideo = {"width": 96, "height": 64, "frame_count": 20}
GIVEN, HAND, BETWEEN = 0, 1, 2
BOX = (10.0, 10.0, 30.0, 30.0)
OTHER = (50.123456789, 20.0, 70.5, 44.25)
Rows = dict[tuple[int, int], tuple[tuple[float, ...], int]]
"""(frame, id) -> box, origin"""
START: Rows = {**{(f, 1): (BOX, GIVEN) for f in range(6)}, **{(f, 2): (OTHER, GIVEN) for f in range(3, 9)}}


def _table(rows: Rows, roles: dict[int, str] | None = None) -> CorrectedBoxes:
    return sorted_boxes([(frame, track, box, origin) for (frame, track), (box, origin) in rows.items()], roles or {})


def _rows(boxes: CorrectedBoxes) -> Rows:
    columns = zip(
        boxes.frame.tolist(), boxes.track.tolist(), boxes.box_xyxy.tolist(), boxes.origin.tolist(), strict=True
    )
    return {(frame, track): (tuple(box), origin) for frame, track, box, origin in columns}


def _save(edits: list[dict[str, Any]], revision: str = "file:" + "a" * 64) -> BoxSave:
    return parse_settings(BoxSave, {"revision": revision, "edits": edits}, what="edits")


@dataclass(frozen=True)
class Edit:
    """An edit of `START`, the rows that change (None: gone), and a part of its history line."""

    why: str
    edit: dict[str, Any]
    changes: dict[tuple[int, int], tuple[tuple[float, ...], int] | None]
    line: dict[str, Any] = field(default_factory=dict)


SQUARE = {"box": [1, 2, 11, 12]}
EDITS = [
    Edit("moved", {"what": "set", "frame": 2, "track": 1, **SQUARE}, {(2, 1): ((1, 2, 11, 12), HAND)},
         {"before": {"track": 1, "box": list(BOX)}, "after": {"track": 1, "box": [1, 2, 11, 12]}, "boxes": 1}),
    Edit("added", {"what": "set", "frame": 15, "track": 9, **SQUARE}, {(15, 9): ((1, 2, 11, 12), HAND)},
         {"before": {"track": 9, "box": None}}),
    Edit("cut at the edges, to hundredths", {"what": "set", "frame": 0, "track": 1, "box": [-5, 1.23456, 200, 65]},
         {(0, 1): ((0, 1.23, 96, 64), HAND)}),
    Edit("deleted", {"what": "remove", "frame": 4, "track": 1}, {(4, 1): None}, {"boxes": 1, "last_frame": 4}),
    Edit("deleted from here on", {"what": "remove", "frame": 4, "track": 1, "onwards": True},
         {(4, 1): None, (5, 1): None}, {"boxes": 2, "last_frame": 5}),
    Edit("a new id in one frame", {"what": "assign", "frame": 1, "track": 1, "to": 7},
         {(1, 1): None, (1, 7): (BOX, GIVEN)}, {"boxes": 1, "after": {"track": 7, "swapped": 0}}),
    Edit("swapped in one frame", {"what": "assign", "frame": 4, "track": 1, "to": 2},
         {(4, 1): (OTHER, GIVEN), (4, 2): (BOX, GIVEN)}, {"boxes": 2, "after": {"track": 2, "swapped": 1}}),
    Edit("swapped from here on, also where only the other is",
         {"what": "assign", "frame": 4, "track": 1, "to": 2, "onwards": True},
         {**{(f, 1): (OTHER, GIVEN) for f in range(4, 9)}, **{(f, 2): (BOX, GIVEN) for f in (4, 5)},
          **{(f, 2): None for f in (6, 7, 8)}}, {"boxes": 7, "frame": 4, "last_frame": 8}),
    Edit("on straight lines, over boxes that were there", {"what": "interpolate", "track": 2, "first": 3, "last": 7},
         {(f, 2): ((50.12, 20.0, 70.5, 44.25), BETWEEN) for f in (4, 5, 6)},
         {"boxes": 3, "before": {"track": 2, "replaced": 3}}),
]  # fmt: skip


@pytest.mark.parametrize("case", EDITS, ids=[case.why for case in EDITS])
def test_an_edit_changes_these_boxes_and_no_others(case: Edit) -> None:
    edited = EditedBoxes(_table(START), **SIZE)
    line = edited.apply(_save([case.edit]).edits[0], time="2026-01-01T00:00:00+00:00")
    wanted = {**START, **case.changes}
    assert _rows(edited.boxes()) == {key: value for key, value in wanted.items() if value is not None}
    assert line.model_dump().items() >= {"what": case.edit["what"], **case.line}.items()


def test_interpolated_boxes_lie_on_the_line_between_the_two_ends() -> None:
    edited = EditedBoxes(_table({(0, 1): ((0, 0, 10, 10), GIVEN), (10, 1): ((40, 20, 60, 50), GIVEN)}), **SIZE)
    edited.apply(_save([{"what": "interpolate", "track": 1, "first": 0, "last": 10}]).edits[0], time="t")
    found = edited.boxes()
    share = np.arange(11)[:, None] / 10
    np.testing.assert_allclose(found.box_xyxy, [[0, 0, 10, 10]] + share * [[40, 20, 50, 40]], atol=0.005)
    assert found.origin.tolist() == [GIVEN, *[BETWEEN] * 9, GIVEN]


REFUSED = [
    ({"what": "set", "frame": 20, "track": 1, **SQUARE}, "there is no frame 20"),
    ({"what": "set", "frame": 0, "track": 1, "box": [-20, 0, 1, 30]}, "less than 2 pixels"),
    ({"what": "set", "frame": 0, "track": 1, "box": [30, 0, 10, 30]}, "less than 2 pixels"),
    ({"what": "set", "frame": 0, "track": -4, **SQUARE}, "ids are whole numbers from 0"),
    ({"what": "remove", "frame": 0, "track": 5}, "no box of id 5 in frame 0"),
    ({"what": "assign", "frame": 7, "track": 1, "to": 2, "onwards": True}, "no box of id 1 in frame 7"),
    ({"what": "assign", "frame": 1, "track": 1, "to": 1}, "has the id 1 already"),
    ({"what": "interpolate", "track": 1, "first": 1, "last": 9}, "no box of id 1 in frame 9"),
]
MALFORMED = [
    ({"what": "set", "frame": 0, "track": 1, "box": [0, 0, float("nan"), 30]}, None),
    ({"what": "set", "frame": -1, "track": 1, **SQUARE}, "must be at least 0"),
    ({"what": "set", "frame": 0, "track": "<b>1</b>", **SQUARE}, "must be a whole number"),
    ({"what": "set", "frame": 0, "track": 1, "box": [0, 1]}, "box"),
    ({"what": "assign", "frame": 0, "track": 1, "to": 2**31}, "must be below 2147483648"),
    ({"what": "interpolate", "track": 1, "first": 3, "last": 4}, "no frame lies between"),
    ({"what": "paint", "frame": 0}, "what"),
]


@pytest.mark.parametrize(("edit", "words"), [*REFUSED, *MALFORMED])
def test_an_edit_that_does_not_fit_is_refused_and_nothing_is_written(
    edit: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    source = _source(tmp_path)
    good = {"what": "remove", "frame": 0, "track": 1}
    with pytest.raises((GazetoolsError, ValidationError), match=words):
        save_boxes(tmp_path / "new" / "clip.csv", "clip", source, _save([good, edit], _first(source)))
    assert not list((tmp_path / "new").glob("*")) if (tmp_path / "new").exists() else True


def _source(folder: Path) -> BoxSource:
    path = folder / "clip.csv"
    path.write_bytes(as_csv(_table(START, {1: "wearer"})))
    base = CorrectionBase(kind="file", path=str(path), sha256="a" * 64, rows=len(START), filled=2)
    boxes = _table(START, {1: "wearer"})
    return BoxSource(provenance=provenance_of("clip", 20, (8, 8)), video=SIZE, base=base, boxes=boxes)


def _first(source: BoxSource) -> str:
    return f"{source.base.kind}:{source.base.sha256}"


def test_saves_build_on_each_other_and_extract_reads_them_back_exactly(tmp_path: Path) -> None:
    source, path = _source(tmp_path), tmp_path / "new" / "clip.csv"
    original = (tmp_path / "clip.csv").read_bytes()
    first = save_boxes(path, "clip", source, _save([EDITS[0].edit, EDITS[7].edit], _first(source)))
    second = save_boxes(
        path, "clip", source, _save([EDITS[8].edit | {"first": 0, "last": 3, "track": 1}], first.revision)
    )
    assert (tmp_path / "clip.csv").read_bytes() == original, "the original is never touched"
    assert path.read_text().startswith(HEADER + ",origin,role\n0,1,10,10,30,30,given,wearer\n")
    assert _rows(read_corrected(path)) == _rows(second.boxes)
    # the format of `extract --heads`, with nothing to guess, and every digit of the boxes that were not touched
    table = read_heads(path, video=SIZE)
    assert (table.form, table.reading, table.units, table.notes) == ("csv", "", "pixels", ())
    np.testing.assert_array_equal(table.box_xyxy, second.boxes.box_xyxy)
    assert 50.123456789 in table.box_xyxy
    assert table.roles == {1: "wearer", 2: "other"}
    # what the store will say about them: who made them, and that three of them look into the future
    heads = heads_for_video(ExtractOptions(heads=f"file:{path}"), {"clip": path}, "clip", **SIZE)
    assert heads.counts == {"corrections": 3.0, "filled_boxes": 4.0}
    assert "corrected by hand (3 edits), begun with clip.csv (sha256 aaaaaaaaaaaa)" in heads.notes
    lines = [json.loads(line) for line in history_path(path).read_text().splitlines()]
    assert [line["what"] for line in lines] == ["begin", "set", "assign", "save", "interpolate", "save"]
    assert lines[0]["base"]["path"] == str(tmp_path / "clip.csv")
    assert [line["based_on"] for line in lines if line["what"] == "save"] == [_first(source), first.revision]
    assert lines[-1]["csv_sha256"] == second.revision


def test_a_stale_save_is_refused_with_the_present_revision(tmp_path: Path) -> None:
    source, path = _source(tmp_path), tmp_path / "new" / "clip.csv"
    first = save_boxes(path, "clip", source, _save([EDITS[0].edit], _first(source)))
    before = (path.read_bytes(), history_path(path).read_bytes())
    with pytest.raises(StaleError) as refused:
        save_boxes(path, "clip", source, _save([EDITS[3].edit], _first(source)))
    assert refused.value.details == {"revision": first.revision}
    assert (path.read_bytes(), history_path(path).read_bytes()) == before


def test_files_that_view_did_not_write_are_never_replaced(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with pytest.raises(UsageError, match="is not what gazetools view saved last"):
        save_boxes(tmp_path / "clip.csv", "clip", source, _save([EDITS[0].edit], _first(source)))  # the original itself
    path = tmp_path / "new" / "clip.csv"
    present = save_boxes(path, "clip", source, _save([EDITS[0].edit], _first(source)))
    path.write_text(path.read_text() + "12,1,1,1,20,20,given,wearer\n")  # another program
    with pytest.raises(UsageError, match="is not what gazetools view saved last"):
        save_boxes(path, "clip", source, _save([EDITS[3].edit], present.revision))
    history_path(path).write_text('{"what": "save"}\n')
    with pytest.raises(HeadsError, match="line 1: not a line of a history"):
        present_boxes(path, source)


def _save_in_child(folder: Path, at: int, counter: Any) -> None:
    """Save, and die right after the `at`-th file got its final name."""
    plain = os.replace

    def replace(*arguments: Any, **named: Any) -> None:
        counter.value += 1
        if counter.value == 2 * at - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(*arguments, **named)
        counter.value += 1
        if counter.value == 2 * at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace  # type: ignore[assignment]
    source, path = _source(folder), folder / "new" / "clip.csv"
    save_boxes(path, "clip", source, _save([EDITS[3].edit], present_boxes(path, source).revision))


@pytest.mark.parametrize("saved_before", [False, True])
def test_killed_between_any_two_files_the_last_whole_save_counts(tmp_path: Path, saved_before: bool) -> None:
    context = multiprocessing.get_context("fork")
    for at in (1, 2, 3):
        folder = tmp_path / str(at)
        folder.mkdir()
        source, path = _source(folder), folder / "new" / "clip.csv"
        before = present_boxes(path, source)
        if saved_before:
            before = save_boxes(path, "clip", source, _save([EDITS[0].edit], _first(source)))
        counter = context.Value("i", 0)
        child = context.Process(target=_save_in_child, args=(folder, at, counter))
        child.start()
        child.join()
        assert child.exitcode == (0 if at == 3 else -signal.SIGKILL)
        left = present_boxes(path, source)
        assert left.revision == before.revision if at == 1 else left.revision != before.revision or at == 2
        # whatever is left can be built upon, and its history is whole
        after = save_boxes(path, "clip", source, _save([EDITS[8].edit], left.revision))
        made = read_corrections(path)
        assert made is not None
        assert made.save.csv_sha256 == after.revision
        assert made.save.edits == 1 + (0 if left.corrections is None else left.corrections.save.edits)


def test_two_servers_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_saving, "_LOCK_WAIT_SECONDS", 0.1)
    source, path = _source(tmp_path), tmp_path / "new" / "take" / "clip.csv"
    with locked(tmp_path / "new", "boxes take/clip"), pytest.raises(BusyError):
        save_boxes(path, "take/clip", source, _save([EDITS[0].edit], _first(source)))
    assert save_boxes(path, "take/clip", source, _save([EDITS[0].edit], _first(source))).corrections is not None


def test_boxes_of_a_store_become_the_pixels_that_they_were(tmp_path: Path) -> None:
    """A store has float32 of 0..1; the decimals that a box file had come back, and so does float32 of 0..1."""
    rng = np.random.default_rng(3)
    for width, height in ((96, 64), (1920, 1080), (3840, 2160), (448, 333)):
        sides = np.array([width, height] * 2, np.float64)
        for decimals in (0, 1, 2):
            pixels = np.round(rng.uniform(0, 1, (500, 4)) * sides, decimals)
            np.testing.assert_array_equal(pixels_of((pixels / sides).astype(np.float32), sides), pixels)
        free = rng.uniform(0, 1, (500, 4)).astype(np.float32)
        np.testing.assert_array_equal((pixels_of(free, sides) / sides).astype(np.float32), free)
