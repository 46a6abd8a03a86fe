"""Number types against float32: what counts as the same gaze, what `auto` chooses by it, and that a store keeps it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gazetools
from gazetools.extraction.model import number_types, precision_records, runners
from gazetools.extraction.model.agreement import agreement, peak_distance
from gazetools.extraction.model.batches import BatchResult
from gazetools.extraction.model.number_types import TypeComparison
from gazetools.extraction.model.precision_records import PRECISION_FOLDER, choice_folder, keep_for_store
from gazetools.gazemodels import GazeOutput, LoadSettings, register, registry
from gazetools.gazemodels.devices import products_in, resolve_dtype
from gazetools.schemas.errors import FaultError, UsageError
from gazetools.schemas.precision import LEAST_ROWS, PrecisionChoice, TypeAgreement
from gazetools.store import open_store
from tests.helpers.clips import write_clip
from tests.helpers.command_line import run_cli

CPU = torch.device("cpu")


def peaked(row: int, column: int, *, height: float = 0.9, base: float = 0.1) -> np.ndarray[Any, np.dtype[np.float16]]:
    heatmap = np.full((64, 64), base, np.float16)
    heatmap[row, column] = height
    return heatmap


def two_peaks(first: float, second: float) -> np.ndarray[Any, np.dtype[np.float16]]:
    heatmap = peaked(10, 10, height=first)
    heatmap[10, 30] = second
    return heatmap


PEAKS = [
    (peaked(5, 5), peaked(5, 5), 0, "the same cell"),
    (peaked(5, 5), peaked(6, 6), 1, "the diagonal neighbour is one cell away"),
    (peaked(5, 5), peaked(5, 25), 20, "as in the public report on a small head"),
    (two_peaks(0.9, 0.9), two_peaks(0.9, 0.5), 0, "two equal peaks: one of them stays"),
    (two_peaks(0.9, 0.9), two_peaks(0.5, 0.9), 0, "or the other one"),
    (two_peaks(0.9, 0.899), two_peaks(0.899, 0.9), 20, "unequal peaks whose order changes have moved"),
    (np.ones((64, 64), np.float16), peaked(0, 63, height=1.0), 0, "a plateau has its peak everywhere"),
]


@pytest.mark.parametrize(("first", "second", "expected", "why"), PEAKS, ids=[case[3] for case in PEAKS])
def test_distance_of_peaks(first: Any, second: Any, expected: int, why: str) -> None:
    assert peak_distance(first, second) == expected, why
    assert peak_distance(second, first) == expected, why


def _result(maps: Sequence[Any], inout: float = 0.5) -> BatchResult:
    return BatchResult(heatmap=np.stack(maps), inout=np.full(len(maps), inout, np.float32))


def _flat(value: float, bump: float = 0.005) -> Any:
    return peaked(1, 1, height=value + bump, base=value)


MANY = [peaked(i, i) for i in range(LEAST_ROWS)]
AGREEMENTS = [
    (MANY, MANY, 0.5, True, "equal"),
    (MANY, [peaked(i + 1, i + 1) for i in range(LEAST_ROWS)], 0.505, True, "all within the tolerances"),
    (MANY, [*MANY[:-1], peaked(40, 40)], 0.5, False, "one peak of many moved"),
    (MANY, MANY, 0.52, False, "in/out differs by 0.02"),
    (MANY[1:], MANY[1:], 0.5, False, "too few maps to be evidence"),
    ([*MANY, _flat(0.2)], [*MANY, np.rot90(_flat(0.2), 2)], 0.5, True, "a map without a peak may move its noise"),
    ([*MANY, _flat(0.2)], [*MANY, _flat(0.25)], 0.5, False, "but not change its values"),
    ([*MANY, _flat(0.2)], [*MANY, peaked(9, 9)], 0.5, False, "nor get a peak"),
    ([_flat(0.2)] * 50, [_flat(0.2)] * 50, 0.5, False, "flat maps alone say nothing about peaks"),
]


@pytest.mark.parametrize(("exact", "found", "inout", "agrees", "why"), AGREEMENTS, ids=[c[4] for c in AGREEMENTS])
def test_what_agrees(exact: list[Any], found: list[Any], inout: float, agrees: bool, why: str) -> None:
    one = agreement("bfloat16", [_result(exact)], [_result(found, inout)], milliseconds_per_frame=1)
    assert one.agrees is agrees, why
    assert one.rows == len(exact)


def test_a_model_without_in_out_is_compared_by_its_maps() -> None:
    nothing = float("nan")
    one = agreement("float16", [_result(MANY, nothing)], [_result(MANY, nothing)], milliseconds_per_frame=1)
    assert (one.inout_difference, one.agrees) == (None, True)


def _agreement(dtype: str, milliseconds: float, *, moved: int = 0, rows: int = 20) -> TypeAgreement:
    return TypeAgreement.model_validate(
        {"dtype": dtype, "rows": rows, "moved_peaks": moved, "milliseconds_per_frame": milliseconds}
    )


CHOICES = [
    ([_agreement("float16", 4), _agreement("bfloat16", 3)], "bfloat16", "the fastest of those that agree"),
    ([_agreement("float16", 4), _agreement("bfloat16", 3, moved=1)], "float16", "the fastest one moves a peak"),
    ([_agreement("float16", 4), _agreement("bfloat16", 3.9)], "float16", "as fast within 5 %: the more exact one"),
    ([_agreement("tf32", 9.8)], "float32", "not faster"),
    ([_agreement("bfloat16", 3, moved=2)], "float32", "none agrees"),
    ([_agreement("bfloat16", 3, rows=3)], "float32", "too little was compared"),
    ([TypeAgreement(dtype="float16", refused="no")], "float32", "the model refuses it"),
]


@pytest.mark.parametrize(("compared", "expected", "why"), CHOICES, ids=[case[2] for case in CHOICES])
def test_the_choice(compared: list[TypeAgreement], expected: str, why: str) -> None:
    word, reason = TypeComparison(float32_milliseconds_per_frame=10, compared=compared).best()
    assert word == expected, why
    assert reason


class _Model:
    """Looks at the head; what a number type does to the gaze is in `SHIFT`, how long a frame takes in `SECONDS`."""

    shift: dict[torch.dtype, int]
    seconds: dict[torch.dtype, float]
    loads: list[str]
    weights_sha256 = {"checkpoint": "ab" * 32}  # noqa: RUF012 - the interface's plain attribute
    implementation, name, backbone_name = "tests 1", "fake", "none"
    in_size, out_size, grid, has_inout = (64, 64), (64, 64), (32, 32), True
    settings: dict[str, Any] = {}  # noqa: RUF012 - the interface's plain attribute

    def __init__(self, settings: LoadSettings) -> None:
        self.loads.append(settings.dtype)
        self.device = CPU
        self.dtype = resolve_dtype(settings.dtype, self.device)

    def preprocess(self, images: Any) -> Any:
        return torch.as_tensor(images)

    def __call__(self, images: Any, boxes: Any) -> GazeOutput:
        time.sleep(self.seconds[self.dtype] * len(images))
        people = [(i, box) for i, some in enumerate(boxes) for box in some]
        maps = torch.full((len(people), 64, 64), 0.1)
        for row, (_, box) in enumerate(people):
            x, y = (0.5, 0.5) if box is None else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            maps[row, int(y * 63), min(63, int(x * 43) + self.shift[self.dtype])] = 0.9
        index = torch.tensor([i for i, _ in people], dtype=torch.int64)
        return GazeOutput(maps, torch.full((len(people),), 0.5), index)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[_Model]:
    """A model whose bfloat16 moves peaks by 20 cells, on a CPU that seems to have fast types; an empty cache."""
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    _Model.shift = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 20}
    _Model.seconds = {torch.float32: 0.004, torch.float16: 0.002, torch.bfloat16: 0.001}
    _Model.loads = []
    monkeypatch.setattr(registry, "_LOADERS", {})
    register("fake", _Model)
    monkeypatch.setattr(runners, "WORTH_MILLISECONDS", 0.0)
    monkeypatch.setattr(runners, "worthwhile_types", lambda model: ["float16", "bfloat16"])
    return _Model


@pytest.fixture
def extract(clip: Path, boxes: Path, tmp_path: Path) -> Callable[..., PrecisionChoice | None]:
    """Extract the clip with the fake model into a store; the dtype's choice as the store file records it."""

    def run(store: str = "store", **more: Any) -> PrecisionChoice | None:
        report = gazetools.extract(clip, tmp_path / store, **{"model": "fake", "heads": f"file:{boxes}", **more})
        assert report.exit_code == 0, report.items
        with open_store(tmp_path / store / "clip.h5") as reader:
            made = reader.provenance.model
            assert made.precision is None or made.precision.dtype == made.dtype
            return made.precision

    return run


def test_auto_does_not_move_peaks(fake: type[_Model], extract: Callable[..., PrecisionChoice], tmp_path: Path) -> None:
    """The fastest type moves peaks by 20 cells, the second by one, which is allowed."""
    choice = extract()
    assert choice.dtype == "float16"
    found = {one.dtype: one for one in choice.compared}
    assert (found["bfloat16"].moved_peaks, found["bfloat16"].farthest_cells) == (48, 20), "24 frames, two people"
    assert (found["float16"].moved_peaks, found["float16"].farthest_cells) == (0, 1)
    assert (choice.frames, choice.video_id, choice.device_type) == (24, "clip", "cpu")
    (record,) = choice_folder().iterdir()
    assert PrecisionChoice.model_validate(json.loads(record.read_text())) == choice
    assert '\n  "dtype": "float16"' in record.read_text(), "for people to read"
    assert fake.loads == ["auto", "float16", "bfloat16", "float16"]


def test_later_runs_use_the_record_and_load_once(fake: type[_Model], extract: Callable[..., PrecisionChoice]) -> None:
    first = extract()
    fake.loads.clear()
    assert extract("other") == first
    assert fake.loads == ["float16"]


@pytest.mark.parametrize("change", ["weights_sha256", "implementation", "in_size"])
def test_a_record_is_for_the_same_model_alone(
    change: str, fake: type[_Model], extract: Callable[..., PrecisionChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    extract()
    values = {"weights_sha256": {"checkpoint": "cd" * 32}, "implementation": "tests 2", "in_size": (32, 32)}
    monkeypatch.setattr(_Model, change, values[change])
    fake.loads.clear()
    assert extract("other").dtype == "float16"
    assert len(list(choice_folder().iterdir())) == 2
    assert fake.loads == ["float16", "auto", "float16", "bfloat16", "float16"], "the guess was wrong, so it is compared"


def test_a_resumed_store_keeps_its_type(
    fake: type[_Model], extract: Callable[..., PrecisionChoice], clip: Path, boxes: Path, tmp_path: Path
) -> None:
    """The cache is gone and another type is the best by now: the store's videos stay of one type."""
    first = extract()
    for path in choice_folder().iterdir():
        path.unlink()
    fake.shift[torch.bfloat16] = 0
    store = tmp_path / "store"
    report = gazetools.extract(clip, store, model="fake", heads=f"file:{boxes}")
    assert report.items[0].status == "complete"
    for path in store.glob("clip.*"):
        path.unlink()  # as if the run had been killed before the first video was finished
    assert extract() == first
    assert extract("other").dtype == "bfloat16", "another store decides for itself"


def test_a_finished_store_without_a_choice_keeps_its_type(
    fake: type[_Model], extract: Callable[..., PrecisionChoice | None], clip: Path, boxes: Path, tmp_path: Path
) -> None:
    """An earlier version made it, or somebody who named the type."""
    assert extract(dtype="bfloat16") is None
    options = {"model": "fake", "heads": f"file:{boxes}"}
    assert gazetools.extract(clip, tmp_path / "store", **options).items[0].status == "complete"  # type: ignore[arg-type]
    again = extract(overwrite=True)
    assert again is not None
    assert again.dtype == "float16", "to replace it is to choose anew"


def test_who_comes_first_decides_for_all_workers(fake: type[_Model], tmp_path: Path) -> None:
    model = fake(LoadSettings(name="fake", dtype="float32"))
    first, second = _choice("float16"), _choice("float32")
    assert keep_for_store(tmp_path, model, first) == first  # type: ignore[arg-type]
    assert keep_for_store(tmp_path, model, second) == first  # type: ignore[arg-type]
    (path,) = (tmp_path / PRECISION_FOLDER).iterdir()
    path.write_text("{}")
    with pytest.raises(FaultError, match="Remove it"):
        keep_for_store(tmp_path, model, second)  # type: ignore[arg-type]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_workers_at_the_same_moment_get_one_choice(
    links: bool, fake: type[_Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(precision_records.os, "link", _no_links)
    model = fake(LoadSettings(name="fake", dtype="float32"))
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
    fake: type[_Model], clip: Path, boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "file"))
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), "--model", "fake", "--heads", f"file:{boxes}")
    assert done.exit_code == 0
    assert "not kept for later runs" in done.stderr
    assert "--dtype auto is float16 for fake on cpu" in done.stderr.replace("\n", " ")


def test_a_broken_first_video_leaves_the_choice_to_the_next(fake: type[_Model], tmp_path: Path) -> None:
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
    fake: type[_Model], extract: Callable[..., PrecisionChoice]
) -> None:
    choice = extract(start=0.0, end=0.1)
    assert choice.dtype == "float32"
    assert "fewer than 8 maps" in choice.reason
    assert not choice_folder().exists()


def test_a_video_without_people_stays_float32(
    fake: type[_Model], extract: Callable[..., PrecisionChoice], tmp_path: Path
) -> None:
    nobody = tmp_path / "nobody.csv"
    nobody.write_text("frame,track_id,xmin,ymin,xmax,ymax\n")
    assert "no people" in extract(heads=f"file:{nobody}").reason


def test_a_fast_model_on_a_cpu_stays_float32(
    fake: type[_Model], extract: Callable[..., PrecisionChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "WORTH_MILLISECONDS", 1000.0)
    choice = extract()
    assert (choice.dtype, choice.compared) == ("float32", [])
    assert fake.loads == ["auto"]


def test_without_instructions_there_is_nothing_to_choose(
    fake: type[_Model], extract: Callable[..., PrecisionChoice | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "worthwhile_types", number_types.worthwhile_types)
    monkeypatch.setattr(number_types, "cpu_computes_bfloat16", lambda: False)
    assert extract() is None
    assert not (tmp_path / "store" / PRECISION_FOLDER).exists()


def test_which_types_are_worth_a_comparison(fake: type[_Model], monkeypatch: pytest.MonkeyPatch) -> None:
    model = fake(LoadSettings(name="fake", dtype="float32"))
    found = number_types.worthwhile_types
    monkeypatch.setattr(number_types, "cpu_computes_bfloat16", lambda: True)
    assert found(model) == ["bfloat16"]  # type: ignore[arg-type]
    assert found(fake(LoadSettings(name="fake", dtype="bfloat16"))) == []  # type: ignore[arg-type]
    model.device = torch.device("cuda:0")
    assert found(model) == ["tf32", "float16", "bfloat16"]  # type: ignore[arg-type]
    model.weights_sha256 = {}
    assert found(model) == []  # type: ignore[arg-type]


def test_nan_in_a_type_refuses_it(fake: type[_Model], extract: Callable[..., PrecisionChoice]) -> None:
    fine = fake.__call__

    def overflow(self: Any, images: Any, boxes: Any) -> GazeOutput:
        out = fine(self, images, boxes)
        return dataclasses.replace(out, heatmap=out.heatmap * (torch.nan if self.dtype == torch.float16 else 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake, "__call__", overflow)
        choice = extract()
    assert choice.dtype == "float32"
    assert "NaN" in str({one.dtype: one for one in choice.compared}["float16"].refused)


def test_products_are_exact_or_rounded_as_the_word_says_and_restored() -> None:
    """The switches exist without a CUDA device; that they act is documented as not run."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    for word, expected in (("tf32", (True, True)), ("float32", (False, False)), ("float16", before)):
        with products_in(word, torch.device("cuda")):
            assert (matmul.allow_tf32, cudnn.allow_tf32) == expected
        assert (matmul.allow_tf32, cudnn.allow_tf32) == before
    with products_in("tf32", CPU):
        assert (matmul.allow_tf32, cudnn.allow_tf32) == before


def test_the_command_prints_a_table_and_exits_1_where_a_type_moves_peaks(
    fake: type[_Model], clip: Path, boxes: Path
) -> None:
    call = ["models", "fake", "--check-precision", str(clip), "--heads", f"file:{boxes}", "--frames", "10"]
    found = run_cli(*call, "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    verdicts = {one["dtype"]: (one["agrees"], one["rows"], one["farthest_cells"]) for one in document["compared"]}
    assert verdicts == {"float16": (True, 20, 1), "bfloat16": (False, 20, 20)}
    assert "peaks move" in run_cli(*call).stdout
    assert run_cli(*call, "--dtypes", "float16").exit_code == 0


def test_the_command_on_a_real_model(tiny_model: Path, clip: Path, boxes: Path) -> None:
    """Real bfloat16 of the CPU, on random weights; the maps of float16 agree to its rounding."""
    call = ["models", str(tiny_model), "--check-precision", str(clip), "--heads", f"file:{boxes}", "--frames", "6"]
    found = run_cli(*call, "--json")
    document = json.loads(found.stdout)
    assert [one["dtype"] for one in document["compared"]] == ["float16", "bfloat16"]
    assert found.exit_code == int(not all(one["agrees"] for one in document["compared"]))
    half, brain = document["compared"]
    assert half["inout_difference"] < 0.01
    assert half["inout_difference"] < brain["inout_difference"], "3 bits less"


WRONG = [
    (["fake"], ["--frames", "3"], "only --check-precision", "an option of the comparison without it"),
    (["fake"], ["--check-precision", "absent.mp4"], "absent.mp4", "no such video"),
    (["fake", "gazelle_tiny"], ["--check-precision", "CLIP"], "takes one model", "two models"),
    (["fake"], ["--check-precision", "CLIP", "--fetch"], "takes one model", "two jobs"),
    (["fake"], ["--check-precision", "CLIP", "--dtypes", "float8"], "must be tf32, float16", "an unknown type"),
    (["fake"], ["--check-precision", "CLIP", "--dtypes", "tf32"], "does not compute that", "a type of CUDA"),
    (["fake"], ["--check-precision", "CLIP", "--heads", "file:none.csv"], "none.csv", "no such boxes"),
    (["centre-prior"], ["--check-precision", "CLIP"], "has no weights", "a control"),
    (["fkae"], ["--check-precision", "CLIP"], "no model named", "an unknown model"),
]


@pytest.mark.parametrize(("names", "arguments", "words", "why"), WRONG, ids=[case[3] for case in WRONG])
def test_wrong_calls(names: list[str], arguments: list[str], words: str, why: str, fake: object, clip: Path) -> None:
    found = run_cli("models", *names, *(str(clip) if word == "CLIP" else word for word in arguments))
    assert (found.exit_code, words in found.stderr) == (2, True), found.stderr


def test_tf32_needs_cuda(fake: type[_Model], clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="CUDA devices only"):
        gazetools.extract(clip, tmp_path / "store", model="fake", dtype="tf32", device="cpu")


def test_an_unreadable_choice_counts_as_none(fake: type[_Model], extract: Callable[..., PrecisionChoice]) -> None:
    extract()
    (record,) = choice_folder().iterdir()
    record.write_text("{")
    assert extract("other").dtype == "float16"
    assert precision_records.choice_of_machine(fake(LoadSettings(name="fake"))) is not None  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_auto_on_a_gpu(tiny_model: Path, clip: Path, boxes: Path, tmp_path: Path, fake: object) -> None:
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
