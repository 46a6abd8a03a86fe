"""PaGE in the pipeline: rows are the model's answers, people without a usable box are counted and have no row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazetools.extraction.model import number_types
from gazetools.extraction.model.crops import box_in_crop, crop_around, cut, map_into_frame
from gazetools.gazemodels.page.model import PageModel
from gazetools.schemas.store import Prompt
from gazetools.store import open_store
from gazetools.video import VideoReader
from tests.helpers.command_line import Done, run_cli

# of the 96x64 clip: an ordinary head, one below a cell of the 4x4 grid, one below a pixel
SOME = "frame,track_id,xmin,ymin,xmax,ymax\n0,1,10,6,38,38\n0,2,40,20,43,23\n0,3,60.6,30,61.2,40\n1,3,60.6,30,61.2,40\n"


def extract(store: Path, clip: Path, page_file: Path, boxes: Path | str, *more: str) -> Done:
    heads = boxes if isinstance(boxes, str) else f"file:{boxes}"
    return run_cli("extract", str(clip), "-o", str(store), "--model", str(page_file), "--heads", heads, *more)


def item_of(done: Done) -> dict[str, Any]:
    assert done.exit_code == 0, done.stderr
    item: dict[str, Any] = json.loads(done.stdout)["items"][0]
    return item


@pytest.fixture
def some(tmp_path: Path) -> Path:
    path = tmp_path / "some.csv"
    path.write_text(SOME)
    return path


def test_every_row_is_the_models_answer(
    clip: Path, boxes: Path, page_file: Path, page: PageModel, tmp_path: Path
) -> None:
    item = item_of(extract(tmp_path, clip, page_file, boxes, "--json"))
    assert (item["rows"], item["frames_without_people"], item["people_not_evaluated"]) == (70, 5, 0)
    with open_store(tmp_path / "clip.h5", verify_checksum=True) as store, VideoReader(clip) as reader:
        assert store.provenance.model.name == "page_test"
        for frame in (0, 10, 39):
            rows = store.rows(frame=frame)
            alone = page(reader.read([frame]), [[tuple(box) for box in rows.box_xyxy.tolist()]])
            np.testing.assert_allclose(rows.heatmap, alone.heatmap.numpy(), atol=1e-3)  # float16 in the store
            assert alone.inout is not None
            np.testing.assert_allclose(rows.inout, alone.inout.numpy(), atol=1e-5)


def test_people_without_a_usable_box_are_counted_and_have_no_row(
    clip: Path, page_file: Path, tmp_path: Path, some: Path
) -> None:
    """A small head stays as it is (no cell is needed); a box without a pixel can't be cut out."""
    item = item_of(extract(tmp_path / "s", clip, page_file, some, "--end", "0.1", "--json"))
    assert (item["frames"], item["rows"], item["people_not_evaluated"], item["small_heads"]) == (3, 2, 2, 0)
    assert item["frames_without_people"] == 2, "frame 1 has only a person who can't be evaluated"
    assert "2 people have no head box that page_test can take" in item["notes"][0]
    with open_store(tmp_path / "s" / "clip.h5") as store:
        assert (store.rows().track_id.tolist(), store.row_prompt.tolist()) == ([1, 2], [Prompt.GIVEN] * 2)
        assert store.provenance.heads.counts == {"left out, no box that the model can take": 2.0}
        assert store.provenance.heads.rows == 4
    again = item_of(extract(tmp_path / "s", clip, page_file, some, "--end", "0.1", "--json"))
    assert again["status"] == "complete"


def test_small_heads_without_a_prompt_are_left_out(clip: Path, page_file: Path, tmp_path: Path, some: Path) -> None:
    item = item_of(extract(tmp_path / "s", clip, page_file, some, "--end", "0.1", "--small-heads", "none", "--json"))
    assert (item["rows"], item["people_not_evaluated"]) == (1, 3)


def test_number_types_are_compared_on_people_that_the_model_can_take(
    clip: Path, page_file: Path, tmp_path: Path, some: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU with bfloat16 compares before the first frame; the small heads have no box that PaGE could be given."""
    monkeypatch.setattr(number_types, "cpu_computes_bfloat16", lambda: True)
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    item = item_of(extract(tmp_path / "s", clip, page_file, some, "--end", "0.1", "--small-heads", "none", "--json"))
    assert (item["rows"], item["people_not_evaluated"]) == (1, 3)
    (choice,) = (tmp_path / "s" / ".precision").glob("*.json")
    assert json.loads(choice.read_text())["frames"] == 1


def test_small_heads_by_crop(clip: Path, page_file: Path, page: PageModel, tmp_path: Path, some: Path) -> None:
    """The model sees the enlarged surroundings as its scene; two crops of their own sizes make one pass."""
    lines = SOME.replace("0,3,60.6,30,61.2,40", "0,3,80,50,84,53")
    some.write_text(lines)
    item = item_of(extract(tmp_path / "s", clip, page_file, some, "--end", "0.02", "--small-heads", "crop", "--json"))
    assert (item["rows"], item["small_heads"]) == (3, 2)
    with open_store(tmp_path / "s" / "clip.h5") as store, VideoReader(clip) as reader:
        rows, frame = store.rows(frame=0), reader.read([0])[0]
    assert rows.prompt.tolist() == [Prompt.GIVEN, Prompt.CROPPED, Prompt.CROPPED]
    for row in (1, 2):
        box = tuple(rows.box_xyxy[row].tolist())
        crop = crop_around(box, page.grid, (64, 96))
        out = page([cut(frame, crop)], [[box_in_crop(box, crop)]])
        expected = map_into_frame(out.heatmap[0].numpy().astype(np.float16).astype(np.float32), crop)
        np.testing.assert_allclose(rows.heatmap[row].astype(np.float32), expected, atol=2e-3)


def test_whole_is_refused_before_the_first_frame(clip: Path, page_file: Path, tmp_path: Path) -> None:
    done = extract(tmp_path / "s", clip, page_file, "whole")
    assert done.exit_code == 2
    assert "--heads whole has no boxes" in done.stderr
    assert not list((tmp_path / "s").glob("*.h5"))


def test_boxes_outside_the_frame_are_refused(clip: Path, page_file: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "far.csv"
    boxes.write_text("frame,track_id,xmin,ymin,xmax,ymax\n0,1,97,6,120,38\n")
    done = extract(tmp_path / "s", clip, page_file, boxes)
    assert done.exit_code == 2
    assert "lies outside the 96x64 video" in done.stderr


def test_profile_tells_people_and_memory(clip: Path, page_file: Path, tmp_path: Path, some: Path) -> None:
    done = extract(tmp_path / "s", clip, page_file, some, "--end", "0.1", "--profile")
    assert done.exit_code == 0, done.stderr
    for words in ("people not evaluated", "largest memory", "frames/s"):
        assert words in done.stdout + done.stderr
    profile = json.loads((tmp_path / "s" / "extract_report.json").read_text())["profile"]
    assert (profile["people"], profile["people_not_evaluated"]) == (2, 2)
    assert profile["peak_memory"] > 50e6


def test_deep_validation_and_packing(clip: Path, boxes: Path, page_file: Path, tmp_path: Path, some: Path) -> None:
    item_of(extract(tmp_path / "s", clip, page_file, boxes, "--json"))
    deep = run_cli(
        "validate", str(tmp_path / "s"), "--deep", "4", "--model", str(page_file), "--videos", str(clip.parent)
    )
    assert deep.exit_code == 0, deep.stdout + deep.stderr
    packed = run_cli("pack", str(tmp_path / "s"), "-o", str(tmp_path / "d"))
    assert packed.exit_code == 0, packed.stderr
    assert (tmp_path / "d" / "clip.npz").is_file()
    deep = run_cli(
        "validate", str(tmp_path / "d"), "--deep", "4", "--model", str(page_file), "--videos", str(clip.parent)
    )
    assert deep.exit_code == 0, deep.stdout + deep.stderr
