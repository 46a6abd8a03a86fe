"""Room for one video: what its pieces and its store file take at the worst moment, known before the first frame."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gazetools
from gazetools.extraction import work
from gazetools.extraction.disk import MARGIN_BYTES, MARGIN_FILES, check_space_for_video, need_of_video
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.model.batches import BatchRunner
from gazetools.extraction.work import VideoWork
from gazetools.heads.spec import VideoHeads
from gazetools.heads.table import HeadTable
from gazetools.schemas.errors import FaultError
from gazetools.store import open_store
from gazetools.store.pieces import PieceFolder
from tests.helpers.clips import write_boxes, write_clip
from tests.helpers.command_line import run_cli
from tests.helpers.disks import pretend_free

MAP = 64 * 64 * 2
ROW = MAP + 8 + 4 + 16 + 4 + 1  # frame, track, box, in/out, prompt
FRAME = 8 + 8  # index, time
PRINT = 32 * 32 + 8  # every 16th frame


def _video(
    pieces: PieceFolder, frames: int, *, people: int | None, piece_frames: int = 256, video_id: str = "clip"
) -> VideoWork:
    """`people` in every frame but the first ten; None: `--heads whole`."""
    table = None
    if people is not None:
        frame = np.repeat(np.arange(10, frames), people)
        track = np.tile(np.arange(people, dtype=np.int32), frames - 10)
        table = HeadTable.from_columns("x", frame, track, np.tile([0.0, 0, 1, 1], (len(frame), 1)), frame)
    heads = VideoHeads(spec="whole" if table is None else "file:x", table=table, sha256=None)
    parts = [np.arange(i, min(i + piece_frames, frames)) for i in range(0, frames, piece_frames)]
    return VideoWork(
        item=VideoItem(video_id=video_id, path=Path("x.mp4")), source=SimpleNamespace(), heads=heads, parts=parts,  # type: ignore[arg-type]
        pieces=pieces, key="key",
    )  # fmt: skip


def _pieces(store: Path, there: list[int], video_id: str = "clip") -> PieceFolder:
    pieces = PieceFolder(store, video_id, "key")
    for number in there:
        pieces.piece_path(number).parent.mkdir(parents=True, exist_ok=True)
        pieces.piece_path(number).touch()
    return pieces


NEEDS = [
    # frames, people, pieces there, rows, frames in missing pieces, rows in them, new files, why
    (600, None, [], 600, 600, 600, 3, "a row per frame, three pieces and their store file"),
    (600, 2, [], 1180, 600, 1180, 3, "two people in all but ten frames"),
    (600, 0, [], 0, 600, 0, 3, "nobody: frames alone"),
    (600, 2, [0], 1180, 344, 688, 2, "a resumed video needs no room for the pieces that are there"),
    (600, 2, [0, 1, 2], 1180, 0, 0, 0, "only the join is left"),
    (256, 2, [], 492, 0, 0, 0, "the only piece of a video stays in memory"),
    (256, None, [], 256, 0, 0, 0, "likewise"),
]


@pytest.mark.parametrize(("frames", "people", "there", "rows", "left", "left_rows", "files", "why"), NEEDS)
def test_the_need_is_the_missing_pieces_and_the_store_file(
    tmp_path: Path, frames: int, people: int | None, there: list[int], rows: int, left: int, left_rows: int, files: int,
    why: str,
) -> None:  # fmt: skip
    (tmp_path / ".work").mkdir()
    pieces = _pieces(tmp_path, there)
    pieces.path.mkdir(exist_ok=True)
    need = need_of_video(_video(pieces, frames, people=people), tmp_path, (64, 64))
    assert need.rows == rows, why
    assert need.files - MARGIN_FILES == files, why
    values = (rows + left_rows) * ROW + (frames + left) * FRAME + -(-frames // 16) * PRINT + -(-left // 16) * PRINT
    # in addition to the values: headers, blocks, and the last chunk of 32 maps, which is as large as the others
    assert values <= need.bytes - MARGIN_BYTES <= values + 32 * ROW + 300_000, why


def test_new_folders_are_counted_too(tmp_path: Path) -> None:
    video = _video(_pieces(tmp_path, [], "take/cam01"), 600, people=1, video_id="take/cam01")
    need = need_of_video(video, tmp_path, (64, 64))
    assert need.files - MARGIN_FILES == 3 + 2  # take/ and the folder of the pieces


def test_counting_is_quick_for_long_videos(tmp_path: Path) -> None:
    """100,000 frames with two people each: columns are counted, frames are not looped over."""
    video = _video(_pieces(tmp_path, []), 100_000, people=2)
    calls = []
    counted = HeadTable.people_in

    def people_in(table: HeadTable, frames: Any) -> Any:
        calls.append(len(frames))
        return counted(table, frames)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeadTable, "people_in", people_in)
        assert need_of_video(video, tmp_path, (64, 64)).rows == 199_980
    assert len(calls) == 391  # one per piece


def test_the_disk_holds_at_its_worst_moment_what_was_said(
    clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured in a real run, at the moment when all pieces and the store file are there."""
    store = tmp_path / "store"
    said, held, files = [], [], []
    whole_need, remove = need_of_video, PieceFolder.remove

    def need(*arguments: Any) -> Any:
        said.append(whole_need(*arguments))
        return said[-1]

    def measured(pieces: PieceFolder) -> None:
        there = [path for path in store.rglob("*") if path.is_file()]
        held.append(sum(path.stat().st_size for path in there))
        files.append(sum(1 for _ in store.rglob("*")))
        remove(pieces)

    monkeypatch.setattr(work, "PIECE_FRAMES", 8)
    monkeypatch.setattr("gazetools.extraction.disk.need_of_video", need)
    monkeypatch.setattr(PieceFolder, "remove", measured)
    gazetools.extract(clip, store, model=str(tiny_model), heads=f"file:{boxes}")
    assert len(said) == len(held) == 1
    assert held[0] <= said[0].bytes <= held[0] + MARGIN_BYTES + 120_000
    assert files[0] <= said[0].files <= files[0] + MARGIN_FILES


def test_on_a_nearly_full_disk_the_store_file_before_must_be_there_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it takes room that seems free, or its pieces take room that will be."""
    video = _video(_pieces(tmp_path, []), 100, people=1)
    settled: list[int] = []

    def check(free_before: int, free_after: int) -> int:
        settled.clear()
        pretend_free(monkeypatch, free_bytes=free_before)

        def settle() -> None:
            settled.append(1)
            pretend_free(monkeypatch, free_bytes=free_after)

        runner = SimpleNamespace(heatmap_shape=(64, 64), tokens_shape=None)
        tools: Any = SimpleNamespace(store=tmp_path, runner=runner, wait_for_store_writer=settle)
        check_space_for_video(tools, video)
        return len(settled)

    assert check(10**12, 0) == 0, "nothing waits where there is plenty"
    assert check(1000, 2_000_000) == 1, "the pieces of the video before gave room back"
    with pytest.raises(FaultError, match=r"The video clip \(90 heatmaps of 64x64\) needs 1\.\d\d MB, 1\.0 kB are free"):
        check(2_000_000, 1000)  # its store file took the room that seemed free


@pytest.mark.parametrize("lacking", ["bytes", "files"])
def test_a_video_without_room_stops_the_run_before_its_first_frame_and_the_same_command_goes_on(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    for name, frames in (("a", 6), ("b", 120)):
        write_clip(tmp_path / "videos" / f"{name}.mp4", frames=frames)
    store = tmp_path / "store"
    # auto would compare number types on a CPU that has bfloat16
    command = ["extract", str(tmp_path / "videos"), "-o", str(store), "--model", str(tiny_model), "--json"]
    command += ["--dtype", "float32"]
    monkeypatch.setattr(work, "PIECE_FRAMES", 8)
    monkeypatch.setattr("gazetools.extraction.run.check_space_for_run", lambda *_, **__: None)
    room = {"bytes": {"free_bytes": 800_000}, "files": {"free_files": 12}}[lacking]
    begin, seen = BatchRunner.begin, []

    def only_a(runner: BatchRunner, images: list, prompts: list) -> Any:  # type: ignore[type-arg]
        seen.extend(images)
        assert len(seen) <= 6, "a frame of the second video was computed"
        return begin(runner, images, prompts)

    with monkeypatch.context() as patch:
        pretend_free(patch, **room)
        patch.setattr(BatchRunner, "begin", only_a)
        stopped = run_cli(*command)
    assert stopped.exit_code == 4
    error = json.loads(stopped.stdout)["error"]
    assert error["message"].startswith("The video b (120 heatmaps of 64x64) needs ")
    for word in ("the same command", "finished videos", "-o", "--stride", "--fps", "--people", "--no-check-space"):
        assert word in error["hint"]
    assert error["details"][f"needed_{lacking}"] > error["details"][f"free_{lacking}"] > 0
    left = ["a.h5", "a.json", "extract_report.html", "extract_report.json"]
    assert sorted(p.name for p in store.rglob("*") if p.is_file()) == left
    statuses = [item["status"] for item in json.loads(run_cli(*command).stdout)["items"]]
    assert statuses == ["complete", "done"]


def test_without_the_check_a_video_is_begun_all_the_same(
    clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_free(monkeypatch, free_bytes=10)
    command = ["extract", str(clip), "-o", str(tmp_path), "--model", str(tiny_model), "--stride", "10", "--json"]
    assert run_cli(*command).exit_code == 4
    assert not list(tmp_path.rglob("*.h5"))
    assert run_cli(*command, "--no-check-space").exit_code == 0
    with open_store(tmp_path / "clip.h5") as store:
        key = store.provenance.options_key
    monkeypatch.undo()
    assert json.loads(run_cli(*command).stdout)["items"][0]["status"] == "complete", "no option of the store's numbers"
    with open_store(tmp_path / "clip.h5") as store:
        assert store.provenance.options_key == key


def test_a_share_of_a_video_counts_the_whole_video(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes the last piece joins them all, on the same disk."""
    write_clip(tmp_path / "clip.mp4", frames=40)
    write_boxes(tmp_path / "clip.csv", frames=range(40))
    monkeypatch.setattr(work, "PIECE_FRAMES", 8)
    said = []
    whole_need = need_of_video

    def need(*arguments: Any) -> Any:
        said.append(whole_need(*arguments))
        return said[-1]

    monkeypatch.setattr("gazetools.extraction.disk.need_of_video", need)
    for shard in ("1/2", "2/2"):
        gazetools.extract(
            tmp_path / "clip.mp4", tmp_path / "s", model=str(tiny_model), heads=f"file:{tmp_path / 'clip.csv'}",
            shard=shard,
        )  # fmt: skip
    assert [need.files - MARGIN_FILES for need in said] == [
        5 + 1,
        5 - 2,
        0,
    ]  # shard 1: pieces and their folder; 2; join
    assert said[0].bytes > said[1].bytes > said[2].bytes > 80 * ROW
