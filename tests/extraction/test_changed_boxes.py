"""Only frames whose head boxes changed are computed again, and the store equals that of a full extraction."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gazetools
from gazetools.extraction import work
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.model.batches import BatchRunner
from gazetools.extraction.run import decode_settings
from gazetools.extraction.tasks import Task
from gazetools.extraction.work import WorkOrder
from gazetools.extraction.worker import Worker
from gazetools.heads.detection import HeadDetection
from gazetools.progress import NoProgress
from gazetools.schemas.extract import ExtractOptions
from gazetools.schemas.store import WORK_FOLDER
from gazetools.store import is_complete, open_store
from tests.heads.tiny_detectors import SquareDetector
from tests.helpers.command_line import run_cli
from tests.helpers.equal_stores import assert_stores_equal
from tests.helpers.random_checkpoints import write_tiny_gazelle

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
    Change("a frame lost all people: later batches move", _without({17}, "1", "7"), {*range(16, 32)} - {17}),
    Change("a frame got its first person: likewise", _added(7, "1"), {4, 7, *range(10, 16)}),
    Change("less than float32 holds", _of({21}, "1", xmin="9.60000001"), set()),
    Change("another order of rows in the file", lambda rows: rows[::-1], set()),
    Change("another choice of people", lambda rows: rows, set(range(FRAMES)) - set(range(5, 10)), ("--people", "1")),
    Change("gaps of 5 frames filled", lambda rows: rows, set(range(4, 16)), ("--fill-gaps", "5")),
    Change("everything", _of(ALL, "1", xmin="12"), set(range(FRAMES)) - set(range(5, 10))),
]  # fmt: skip


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PIECE_FRAMES", PIECE)


@pytest.fixture(scope="module")
def first_store(clip: Path, boxes: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of `clip` with `boxes`, to be copied."""
    store = tmp_path_factory.mktemp("first") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "PIECE_FRAMES", PIECE)
        _run(*_arguments(clip, tiny_model, store, boxes))
    return store


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of people in every frame that is given to the model."""
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
    return [*arguments, "--batch-size", str(BATCH), "--device", "cpu", "--dtype", "float32", *more]


def _run(*arguments: str) -> dict[str, Any]:
    done = run_cli(*arguments)
    assert done.exit_code == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout)["items"][0])


_FAST = {"ids only, the order of people stays", "a frame lost all people: later batches move"}
_CASES = [pytest.param(c, id=c.why, marks=[] if c.why in _FAST else [pytest.mark.slow]) for c in CHANGES]


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.usefixtures("small_pieces")
def test_changed_boxes_give_the_store_of_a_full_extraction(
    clip: Path, boxes: Path, tiny_model: Path, first_store: Path, tmp_path: Path, seen: list[int], case: Change
) -> None:
    new = _changed(boxes, tmp_path / "new.csv", case.change)
    shutil.copytree(first_store, tmp_path / "s")
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
    assert _run(*_arguments(clip, tiny_model, tmp_path / "s", new, *case.options))["status"] == "complete"


OTHERS = {
    "another option": ("--small-heads", "none"),
    "other frames": ("--stride", "2"),
    "another batch size": ("--batch-size", "3"),
}


@pytest.mark.slow
@pytest.mark.parametrize("why", [*OTHERS, "another model", "a byte in the middle of the video", "a damaged store"])
@pytest.mark.usefixtures("small_pieces")
def test_more_than_the_boxes_changed_so_all_is_computed(
    clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path, why: str, seen: list[int]
) -> None:
    """The key of a store tells options and model; of the video only its ends, so its whole sum counts."""
    video, model, store = tmp_path / "clip.mp4", tiny_model, tmp_path / "s"
    free = (3 << 20).to_bytes(4, "big") + b"free"  # a box of 3 MiB that players skip
    video.write_bytes(clip.read_bytes() + free.ljust(3 << 20, b"\0"))
    _run(*_arguments(video, model, store, boxes))
    if why == "another model":
        model = write_tiny_gazelle(tmp_path / "other.safetensors", seed=5)
    elif why.startswith("a byte"):
        with video.open("r+b") as file:
            file.seek(clip.stat().st_size + (3 << 19))
            file.write(b"x")
    elif why == "a damaged store":
        with (store / "clip.h5").open("r+b") as file:
            file.seek(-200, 2)
            file.write(b"damaged")
    new = _changed(boxes, tmp_path / "new.csv", _of({21}, "1", xmin="12"))
    seen.clear()
    item = _run(*_arguments(video, model, store, new, "--overwrite", *OTHERS.get(why, ())))
    assert (item["status"], item["taken_over_frames"], item["notes"]) == ("done", 0, [])
    assert len(seen) == (18 if why == "other frames" else 35)
    with open_store(store / "clip.h5", verify_checksum=True) as made:
        assert made.provenance.taken_over is None


def test_without_overwrite_the_store_stays_and_the_hint_says_what_it_would_cost(
    clip: Path, boxes: Path, tiny_model: Path, first_store: Path, tmp_path: Path, small_pieces: None
) -> None:
    new = _changed(boxes, tmp_path / "new.csv", _of({21}, "1", xmin="12"))
    done = run_cli(*_arguments(clip, tiny_model, first_store, new))
    assert done.exit_code == 1
    reason = json.loads(done.stdout)["items"][0]["reason"]
    assert "made with other head boxes" in reason
    assert "--overwrite to replace it, which computes only the frames whose boxes have changed" in reason
    assert _run(*_arguments(clip, tiny_model, first_store, boxes))["status"] == "complete"


# Kills itself right before or after the K-th file gets its final name. Two videos' worth of names: journal, pieces,
# store file, sidecar, reports.
_KILLED = """
import os, signal, sys
from pathlib import Path
from gazetools.extraction import work
work.PIECE_FRAMES = int(sys.argv[3])
at, after = int(sys.argv[1]), sys.argv[2] == "after"
count, plain = [0], os.replace
def replace(source, target, **more):
    count[0] += 1
    if count[0] == at and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    plain(source, target, **more)
    if count[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
from gazetools.cli.app import main
main(sys.argv[4:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("piece_frames", [PIECE, 256], ids=["three pieces", "one piece"])
def test_killed_at_every_commit_the_old_store_counts_until_the_new_one_does(
    clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path, seen: list[int], piece_frames: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(work, "PIECE_FRAMES", piece_frames)
    new = _changed(boxes, tmp_path / "new.csv", _of({2, 21}, "1", xmin="12"))
    for name, file in (("first", boxes), ("full", new)):
        _run(*_arguments(clip, tiny_model, tmp_path / name, file))
    old = is_complete(tmp_path / "first", "clip")
    wanted = is_complete(tmp_path / "full", "clip")
    assert old is not None
    assert wanted is not None
    kills, between = 0, 0
    for at in range(1, 40):
        for when in ("before", "after"):
            store = tmp_path / f"{at}{when}"
            shutil.copytree(tmp_path / "first", store)
            command = _arguments(clip, tiny_model, store, new, "--overwrite")
            script = [sys.executable, "-c", _KILLED, str(at), when, str(piece_frames), *command]
            code = subprocess.run(script, capture_output=True, check=False).returncode
            if code == 0:
                break
            assert code == -signal.SIGKILL
            kills += 1
            left = is_complete(store, "clip")
            between += left is None
            if left is not None:
                assert left.options_key in (old.options_key, wanted.options_key)
                assert left.options_key == wanted.options_key or left == old
            seen.clear()
            item = _run(*command)
            # 8 frames of two batches; where the store file has its name and the sidecar not yet, all pieces are there
            assert len(seen) <= (0 if left is None else 8), (at, when)
            assert item["status"] == ("complete" if left is not None and left != old else "done")
            assert_stores_equal(store / "clip.h5", tmp_path / "full" / "clip.h5")
            with open_store(store / "clip.h5") as made:
                assert made.provenance.taken_over is not None
                assert made.provenance.taken_over.frames == FRAMES - 8
                assert made.provenance.taken_over.payload_sha256 == old.payload_sha256
        if code == 0:
            break
    print(f"killed {kills} times, {between} of them between store file and sidecar")
    assert kills >= 10
    assert between == 2  # after the store file, before the sidecar


@pytest.mark.slow
@pytest.mark.usefixtures("small_pieces")
def test_detected_boxes_are_corrected_twice_and_validated_with_the_video(
    clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[int]
) -> None:
    """The CSV of a first pass, corrected; it has the boxes of gaps, which `--fill-gaps` made, as rows."""
    monkeypatch.setattr(
        HeadDetection,
        "load",
        classmethod(lambda cls, options, hdr="tonemap": cls(options=options, detector=SquareDetector(), hdr=hdr)),
    )
    store, settings = tmp_path / "s", {"model": str(tiny_model), "device": "cpu", "batch_size": BATCH}
    gazetools.extract(clip, store, heads="detect", detect_every=2, fill_gaps=1, **settings)
    with open_store(store / "clip.h5") as made:
        rows = made.rows()
        assert made.provenance.heads.counts["filled_boxes"] == 18
    lines = ["frame,track_id,xmin,ymin,xmax,ymax"]
    for frame, track, box in zip(rows.frame, rows.track_id, rows.box_xyxy * [96, 64, 96, 64], strict=True):
        lines.append(",".join([str(frame), str(track), *(f"{side:.6f}" for side in box)]))
    corrected = tmp_path / "new.csv"
    for number, line in enumerate((9, 21), start=1):
        lines[line] = ",".join([*lines[line].split(",")[:2], "20,20,40,40"])
        corrected.write_text("\n".join(lines) + "\n")
        seen.clear()
        report = gazetools.extract(clip, store, heads=f"file:{corrected}", overwrite=True, **settings)
        assert len(seen) == BATCH
        assert report.items[0].taken_over_frames == FRAMES - BATCH
        with open_store(store / "clip.h5") as made:
            assert made.provenance.taken_over is not None
            assert made.provenance.taken_over.corrections == number
    gazetools.extract(clip, tmp_path / "full", heads=f"file:{corrected}", **settings)
    assert_stores_equal(store / "clip.h5", tmp_path / "full" / "clip.h5")
    checked = run_cli("validate", str(store), "--videos", str(clip.parent), "--deep", "8", "--model", str(tiny_model))
    assert checked.exit_code == 0, checked.stdout + checked.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("small_pieces")
def test_shares_of_a_video_take_over_each_its_part(
    clip: Path, boxes: Path, tiny_model: Path, first_store: Path, tmp_path: Path, seen: list[int]
) -> None:
    new = _changed(boxes, tmp_path / "new.csv", _of({2, 37}, "1", xmin="12"))
    store = shutil.copytree(first_store, tmp_path / "s")
    settings = {"model": str(tiny_model), "device": "cpu", "batch_size": BATCH, "heads": f"file:{new}"}
    options = ExtractOptions(**settings, overwrite=True)
    order = WorkOrder(store=store, options=options, decoding=decode_settings(options), video_ids=["clip"])
    whole = Task(item=VideoItem(video_id="clip", path=clip), cost=1.0, share_count=2)
    with Worker(order, NoProgress()) as worker:
        shares = [worker.start(dataclasses.replace(whole, share_index=index)).result() for index in range(2)]
    assert [share.status for share in shares if share is not None] == ["part", "done"]
    assert len(seen) == 2 * BATCH
    assert shares[1] is not None
    assert shares[1].taken_over_frames == FRAMES - 2 * BATCH
    gazetools.extract(clip, tmp_path / "full", **settings)
    assert_stores_equal(store / "clip.h5", tmp_path / "full" / "clip.h5")
