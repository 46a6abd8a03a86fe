"""What `auto` chooses, that a store keeps it, and that workers and later runs agree on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import gazetools
from gazetools.extraction.model import number_types, precision_records, runners
from gazetools.extraction.model.precision_records import PRECISION_FOLDER, choice_folder, keep_for_store
from gazetools.extraction.model.runners import RunnerChoice
from gazetools.gazemodels import GazeOutput, LoadSettings
from gazetools.progress import NoProgress
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.precision import PrecisionChoice
from gazetools.store import open_store
from tests.extraction.conftest import ShiftingModel
from tests.helpers.clips import write_clip
from tests.helpers.command_line import run_cli


def test_auto_does_not_move_peaks(
    shifting: type[ShiftingModel], extract_clip: Callable[..., PrecisionChoice], tmp_path: Path
) -> None:
    """The fastest type moves peaks by 20 cells, the second by one, which is allowed."""
    choice = extract_clip()
    assert choice.dtype == "float16"
    found = {one.dtype: one for one in choice.compared}
    assert (found["bfloat16"].moved_peaks, found["bfloat16"].farthest_cells) == (48, 20), "24 frames, two people"
    assert (found["float16"].moved_peaks, found["float16"].farthest_cells) == (0, 1)
    assert (choice.frames, choice.video_id, choice.device_type) == (24, "clip", "cpu")
    (record,) = choice_folder().iterdir()
    assert PrecisionChoice.model_validate(json.loads(record.read_text())) == choice
    assert '\n  "dtype": "float16"' in record.read_text(), "for people to read"
    assert shifting.loads == ["auto", "float16", "bfloat16", "float16"]


def test_later_runs_use_the_record_and_load_once(
    shifting: type[ShiftingModel], extract_clip: Callable[..., PrecisionChoice]
) -> None:
    first = extract_clip()
    shifting.loads.clear()
    assert extract_clip("other") == first
    assert shifting.loads == ["float16"]


@pytest.mark.parametrize("change", ["weights_sha256", "implementation", "in_size"])
def test_a_record_is_for_the_same_model_alone(
    change: str,
    shifting: type[ShiftingModel],
    extract_clip: Callable[..., PrecisionChoice],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extract_clip()
    values = {"weights_sha256": {"checkpoint": "cd" * 32}, "implementation": "tests 2", "in_size": (32, 32)}
    monkeypatch.setattr(ShiftingModel, change, values[change])
    shifting.loads.clear()
    assert extract_clip("other").dtype == "float16"
    assert len(list(choice_folder().iterdir())) == 2
    assert shifting.loads == ["float16", "auto", "float16", "bfloat16", "float16"], (
        "the guess was wrong, so it is compared"
    )


def test_loading_writes_nothing_into_the_store(
    shifting: type[ShiftingModel], extract_clip: Callable[..., PrecisionChoice], tmp_path: Path
) -> None:
    """A run that is refused for lack of room has loaded the model; the type is known from an earlier run."""
    extract_clip()
    choice = RunnerChoice(ExtractOptions(model="fake"), tmp_path / "other", ["clip"], NoProgress())
    assert choice.runner.word == "float16"
    assert not (tmp_path / "other").exists()


def test_a_resumed_store_keeps_its_type(
    shifting: type[ShiftingModel], extract_clip: Callable[..., PrecisionChoice], clip: Path, boxes: Path, tmp_path: Path
) -> None:
    """The cache is gone and another type is the best by now: the store's videos stay of one type."""
    first = extract_clip()
    for path in choice_folder().iterdir():
        path.unlink()
    shifting.shift[torch.bfloat16] = 0
    store = tmp_path / "store"
    report = gazetools.extract(clip, store, model="fake", heads=f"file:{boxes}")
    assert report.items[0].status == "complete"
    for path in store.glob("clip.*"):
        path.unlink()  # as if the run had been killed before the first video was finished
    assert extract_clip() == first
    assert extract_clip("other").dtype == "bfloat16", "another store decides for itself"


def test_a_finished_store_without_a_choice_keeps_its_type(
    shifting: type[ShiftingModel],
    extract_clip: Callable[..., PrecisionChoice | None],
    clip: Path,
    boxes: Path,
    tmp_path: Path,
) -> None:
    """An earlier version made it, or somebody who named the type."""
    assert extract_clip(dtype="bfloat16") is None
    options = {"model": "fake", "heads": f"file:{boxes}"}
    assert gazetools.extract(clip, tmp_path / "store", **options).items[0].status == "complete"  # type: ignore[arg-type]
    again = extract_clip(overwrite=True)
    assert again is not None
    assert again.dtype == "float16", "to replace it is to choose anew"


def test_who_comes_first_decides_for_all_workers(shifting: type[ShiftingModel], tmp_path: Path) -> None:
    model = shifting(LoadSettings(name="fake", dtype="float32"))
    first, second = _choice("float16"), _choice("float32")
    assert keep_for_store(tmp_path, model, first) == first  # type: ignore[arg-type]
    assert keep_for_store(tmp_path, model, second) == first  # type: ignore[arg-type]
    (path,) = (tmp_path / PRECISION_FOLDER).iterdir()
    path.write_text("{}")
    with pytest.raises(FaultError, match="Remove it"):
        keep_for_store(tmp_path, model, second)  # type: ignore[arg-type]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_workers_at_the_same_moment_get_one_choice(
    links: bool, shifting: type[ShiftingModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(precision_records.os, "link", _no_links)
    model = shifting(LoadSettings(name="fake", dtype="float32"))
    words = ["float32", "float16", "bfloat16"] * 4

    def keep(word: str) -> PrecisionChoice:
        return keep_for_store(tmp_path, model, _choice(word))  # type: ignore[arg-type]

    if links:
        with ThreadPoolExecutor(len(words)) as pool:
            kept = list(pool.map(keep, words))
    else:
        kept = [keep(word) for word in words]
    assert len({one.dtype for one in kept}) == 1
    assert len(list((tmp_path / PRECISION_FOLDER).iterdir())) == 1, "no temporary file stays"


def _no_links(*_: object) -> None:
    raise OSError("not supported")


def _choice(word: str) -> PrecisionChoice:
    facts = dict.fromkeys(("reason", "asked_for", "model", "implementation", "device", "torch", "video_id"), "")
    return PrecisionChoice.model_validate(
        {**facts, "dtype": word, "weights_sha256": {}, "device_type": "cpu", "frames": 1}
    )


def test_a_cache_that_can_not_be_written_costs_the_record_alone(
    shifting: type[ShiftingModel], clip: Path, boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "file"))
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), "--model", "fake", "--heads", f"file:{boxes}")
    assert done.exit_code == 0
    assert "not kept for later runs" in done.stderr
    assert "--dtype auto is float16 for fake on cpu" in done.stderr.replace("\n", " ")


def test_a_broken_first_video_leaves_the_choice_to_the_next(shifting: type[ShiftingModel], tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "a.mp4").write_bytes(b"no video" * 100)
    write_clip(videos / "b.mp4", frames=30)
    report = gazetools.extract(videos, tmp_path / "store", model="fake")
    assert [item.status for item in report.items] == ["failed", "done"]
    with open_store(tmp_path / "store" / "b.h5") as reader:
        assert reader.provenance.model.precision is not None
        assert reader.provenance.model.precision.video_id == "b"
    found = run_cli("validate", str(tmp_path / "store"), "--videos", str(videos), "--json")
    assert "precision" not in found.stdout, "the folder of choices is no part of the data"


def test_too_little_to_compare_stays_float32_and_is_not_remembered(
    shifting: type[ShiftingModel], extract_clip: Callable[..., PrecisionChoice]
) -> None:
    choice = extract_clip(start=0.0, end=0.1)
    assert choice.dtype == "float32"
    assert "fewer than 8 maps" in choice.reason
    assert not choice_folder().exists()


def test_a_video_without_people_stays_float32(
    shifting: type[ShiftingModel], extract_clip: Callable[..., PrecisionChoice], tmp_path: Path
) -> None:
    nobody = tmp_path / "nobody.csv"
    nobody.write_text("frame,track_id,xmin,ymin,xmax,ymax\n")
    assert "no people" in extract_clip(heads=f"file:{nobody}").reason


def test_a_fast_model_on_a_cpu_stays_float32(
    shifting: type[ShiftingModel], extract_clip: Callable[..., PrecisionChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "WORTH_MILLISECONDS", 1000.0)
    choice = extract_clip()
    assert (choice.dtype, choice.compared) == ("float32", [])
    assert shifting.loads == ["auto"]


def test_without_instructions_there_is_nothing_to_choose(
    shifting: type[ShiftingModel],
    extract_clip: Callable[..., PrecisionChoice | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runners, "worthwhile_types", number_types.worthwhile_types)
    monkeypatch.setattr(number_types, "cpu_computes_bfloat16", lambda: False)
    assert extract_clip() is None
    assert not (tmp_path / "store" / PRECISION_FOLDER).exists()


def test_which_types_are_worth_a_comparison(shifting: type[ShiftingModel], monkeypatch: pytest.MonkeyPatch) -> None:
    model = shifting(LoadSettings(name="fake", dtype="float32"))
    found = number_types.worthwhile_types
    monkeypatch.setattr(number_types, "cpu_computes_bfloat16", lambda: True)
    assert found(model) == ["bfloat16"]  # type: ignore[arg-type]
    assert found(shifting(LoadSettings(name="fake", dtype="bfloat16"))) == []  # type: ignore[arg-type]
    model.device = torch.device("cuda:0")
    assert found(model) == ["tf32", "float16", "bfloat16"]  # type: ignore[arg-type]
    model.weights_sha256 = {}
    assert found(model) == []  # type: ignore[arg-type]


def test_nan_in_a_type_refuses_it(shifting: type[ShiftingModel], extract_clip: Callable[..., PrecisionChoice]) -> None:
    fine = shifting.__call__

    def overflow(self: Any, images: Any, boxes: Any) -> GazeOutput:
        out = fine(self, images, boxes)
        return dataclasses.replace(out, heatmap=out.heatmap * (torch.nan if self.dtype == torch.float16 else 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shifting, "__call__", overflow)
        choice = extract_clip()
    assert choice.dtype == "float32"
    assert "NaN" in str({one.dtype: one for one in choice.compared}["float16"].refused)


def test_tf32_needs_cuda(shifting: type[ShiftingModel], clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="CUDA devices only"):
        gazetools.extract(clip, tmp_path / "store", model="fake", dtype="tf32", device="cpu")


def test_an_unreadable_choice_counts_as_none(
    shifting: type[ShiftingModel], extract_clip: Callable[..., PrecisionChoice]
) -> None:
    extract_clip()
    (record,) = choice_folder().iterdir()
    record.write_text("{")
    assert extract_clip("other").dtype == "float16"
    assert precision_records.choice_of_machine(shifting(LoadSettings(name="fake"))) is not None  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_auto_on_a_gpu(tiny_model: Path, clip: Path, boxes: Path, tmp_path: Path, shifting: object) -> None:
    """The three types are compared, and the one that was chosen is one that agrees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runners, "worthwhile_types", number_types.worthwhile_types)
        gazetools.extract(clip, tmp_path, model=str(tiny_model), heads=f"file:{boxes}", device="cuda:0")
    with open_store(tmp_path / "clip.h5") as reader:
        made = reader.provenance.model
    assert made.precision is not None
    found = {one.dtype: one for one in made.precision.compared}
    assert list(found) == ["tf32", "float16", "bfloat16"]
    assert made.dtype == "float32" or found[made.precision.dtype].agrees
