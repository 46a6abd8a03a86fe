"""`extract` on real small clips through the command line: rows, resume, refusals, faults."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import gazetools
from gazetools.extraction import work
from gazetools.extraction.model.batches import BatchRunner
from gazetools.schemas.store import Prompt
from gazetools.store import open_store
from gazetools.video import VideoReader
from tests.helpers.clips import write_boxes, write_clip
from tests.helpers.command_line import run_cli


def _extract(store: Path, *arguments: str | Path, model: Path) -> dict:  # type: ignore[type-arg]
    done = run_cli("extract", *map(str, arguments), "-o", str(store), "--model", str(model), "--json")
    return {"code": done.exit_code, "stderr": done.stderr, **json.loads(done.stdout)}


def _datasets(path: Path) -> dict[str, np.ndarray]:
    with open_store(path, verify_checksum=True) as store:
        rows = store.rows()
        columns = {name: getattr(rows, name) for name in rows.__dataclass_fields__}
        return {**columns, **{name: getattr(store.frames, name) for name in store.frames.__dataclass_fields__}}


def _assert_equal(left: Path, right: Path) -> None:
    first, second = _datasets(left), _datasets(right)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_every_row_is_the_models_answer_for_its_frame_and_box(
    clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path
) -> None:
    result = _extract(tmp_path, clip, "--heads", f"file:{boxes}", model=tiny_model)
    assert result["code"] == 0
    assert result["items"][0] | {"seconds": 0} == {
        "video_id": "clip", "path": str(clip), "status": "done", "reason": None, "frames": 40, "rows": 70,
        "frames_without_people": 5, "small_heads": 0, "people_not_evaluated": 0, "clipped_boxes": 0,
        "resumed_frames": 0, "taken_over_frames": 0, "seconds": 0,
        "head_counts": {}, "head_notes": [], "notes": [],
    }  # fmt: skip
    model = gazetools.load_model(str(tiny_model))
    with open_store(tmp_path / "clip.h5", verify_checksum=True) as store, VideoReader(clip) as reader:
        assert store.frames.index.tolist() == list(range(40))
        np.testing.assert_array_equal(store.frames.pts_seconds, reader.pts_seconds)
        assert store.frames.fingerprint_index.tolist() == [0, 16, 32]
        assert store.provenance.video.frame_count == 40
        assert store.provenance.video.counted_by == "decoding"
        for frame in (0, 4, 10, 39):
            rows = store.rows(frame=frame)
            assert rows.track_id.tolist() == [1, 7]
            alone = model(reader.read([frame]), [[tuple(box) for box in rows.box_xyxy.tolist()]])
            np.testing.assert_allclose(rows.heatmap, alone.heatmap.numpy(), atol=1e-3)  # float16 in the store
            assert alone.inout is not None
            np.testing.assert_allclose(rows.inout, alone.inout.numpy(), atol=1e-5)


def test_whole_gives_one_unprompted_row_per_frame(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert _extract(tmp_path, clip, "--stride", "10", model=tiny_model)["items"][0]["rows"] == 4
    with open_store(tmp_path / "clip.h5") as store:
        assert store.row_frame.tolist() == [0, 10, 20, 30]
        assert set(store.row_prompt.tolist()) == {Prompt.NONE}
        assert store.provenance.heads.prompts == {"none": 4}


def test_small_heads_are_grown_or_left_without_a_prompt_and_counted(
    clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    boxes = tmp_path / "small.csv"
    boxes.write_text("frame,track_id,xmin,ymin,xmax,ymax\n0,1,40,20,43,23\n0,2,0,0,60,50\n")
    for policy, prompt in (("grow", Prompt.GROWN), ("none", Prompt.NONE)):
        out = tmp_path / policy
        result = _extract(
            out, clip, "--heads", f"file:{boxes}", "--small-heads", policy, "--end", "0.1", model=tiny_model
        )
        assert result["items"][0]["small_heads"] == 1
        with open_store(out / "clip.h5") as store:
            assert store.row_prompt.tolist() == [prompt, Prompt.GIVEN]
            np.testing.assert_allclose(store.row_box[0], [40 / 96, 20 / 64, 43 / 96, 23 / 64], rtol=1e-6)


def test_the_same_command_again_does_nothing_and_other_options_are_refused(
    clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    _extract(tmp_path, clip, "--stride", "20", model=tiny_model)
    before = (tmp_path / "clip.h5").stat().st_mtime_ns
    assert _extract(tmp_path, clip, "--stride", "20", model=tiny_model)["items"][0]["status"] == "complete"
    assert (tmp_path / "clip.h5").stat().st_mtime_ns == before
    other = _extract(tmp_path, clip, "--stride", "10", model=tiny_model)
    assert other["code"] == 1
    assert "--overwrite" in other["items"][0]["reason"]
    assert _extract(tmp_path, clip, "--stride", "10", "--overwrite", model=tiny_model)["items"][0]["frames"] == 4


def test_one_broken_video_costs_one_video(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(clip, videos / "good.mp4")
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("no video at all\n" * 50)
    (videos / "cut.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    result = _extract(tmp_path / "store", videos, "--stride", "10", "--dtype", "float32", model=tiny_model)
    assert result["code"] == 1
    assert {item["video_id"]: item["status"] for item in result["items"]} == {
        "cut": "failed", "empty": "failed", "good": "done", "text": "failed",
    }  # fmt: skip
    for item in result["items"]:
        assert (item["reason"] is None) == (item["status"] == "done")
    left = sorted(p.name for p in (tmp_path / "store").rglob("*") if p.is_file())
    assert left == ["extract_report.html", "extract_report.json", "good.h5", "good.json"]
    report = json.loads((tmp_path / "store" / "extract_report.json").read_text())
    assert report["items"] == result["items"]


BAD_BOXES = [
    ("frame,track_id,xmin,ymin,xmax,ymax\n0,1,10,10,500,60\n", "lies outside the 96x64 video"),
    ("frame,track_id,xmin,ymin,xmax\n0,1,10,10,50\n", "'ymax' is missing"),
]


@pytest.mark.parametrize(("text", "words"), BAD_BOXES, ids=[words for _, words in BAD_BOXES])
def test_a_box_file_that_does_not_fit_is_2_before_the_model_is_loaded(
    clip: Path, tmp_path: Path, text: str, words: str
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(text)
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), "--heads", f"file:{boxes}", "--model", "none")
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "s").exists()


def test_missing_weights_are_3_with_the_commands_that_get_them(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAZETOOLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GAZETOOLS_OFFLINE", "1")
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), "--json")
    assert done.exit_code == 3
    assert "curl" in json.dumps(json.loads(done.stdout))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches_and_pieces_change_nothing_beyond_rounding(
    clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _extract(tmp_path / "a", clip, "--heads", f"file:{boxes}", model=tiny_model)
    monkeypatch.setattr(work, "PIECE_FRAMES", 7)
    _extract(tmp_path / "b", clip, "--heads", f"file:{boxes}", "--batch-size", str(batch_size), model=tiny_model)
    left, right = _datasets(tmp_path / "a" / "clip.h5"), _datasets(tmp_path / "b" / "clip.h5")
    np.testing.assert_array_equal(left["frame"], right["frame"])
    np.testing.assert_array_equal(left["track_id"], right["track_id"])
    np.testing.assert_allclose(left["heatmap"].astype(float), right["heatmap"].astype(float), atol=2e-3)


def test_out_of_memory_halves_the_batch_and_is_recorded(
    clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _extract(tmp_path / "a", clip, "--heads", f"file:{boxes}", "--batch-size", "8", model=tiny_model)
    whole_forward = BatchRunner._forward

    def small_memory(self: BatchRunner, images: list, prompts: list) -> object:  # type: ignore[type-arg]
        if len(images) > 2:
            raise torch.OutOfMemoryError("too many")
        return whole_forward(self, images, prompts)

    monkeypatch.setattr(BatchRunner, "_forward", small_memory)
    result = _extract(tmp_path / "b", clip, "--heads", f"file:{boxes}", "--batch-size", "8", model=tiny_model)
    assert "clip: out of memory with 8 frames at a time, now 2" in result["stderr"]
    left, right = _datasets(tmp_path / "a" / "clip.h5"), _datasets(tmp_path / "b" / "clip.h5")
    np.testing.assert_allclose(left["heatmap"].astype(float), right["heatmap"].astype(float), atol=2e-3)
    with open_store(tmp_path / "b" / "clip.h5") as store:
        assert store.provenance.batch_size_backoffs == [{"piece": 0, "batch_size": 2}]


# A test run in the background of a shell ignores SIGINT, and so would this child without the line that says so.
_SLOW_RUN = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from gazetools.extraction import work
from gazetools.extraction.model.batches import BatchRunner
work.PIECE_FRAMES = 8
whole = BatchRunner._forward
def slow(self, images, prompts):
    time.sleep(0.15)
    return whole(self, images, prompts)
BatchRunner._forward = slow
from gazetools.cli.app import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again_gives_the_same_store(
    clip: Path, boxes: Path, tiny_model: Path, tmp_path: Path, stop: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "killed"
    arguments = [
        str(clip),
        "-o",
        str(store),
        "--heads",
        f"file:{boxes}",
        "--model",
        str(tiny_model),
        "--batch-size",
        "4",
    ]
    process = subprocess.Popen([sys.executable, "-c", _SLOW_RUN, "extract", *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while len(list(store.rglob("piece_*.npz"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(stop)
    code = process.wait()
    if process.stderr:
        process.stderr.close()
    assert code == (130 if stop == signal.SIGINT else -9)
    assert len(list(store.rglob("piece_*.npz"))) >= 2
    assert not list(store.rglob("*.h5"))
    monkeypatch.setattr(work, "PIECE_FRAMES", 8)
    resumed = _extract(store, *arguments[:1], *arguments[3:], model=tiny_model)["items"][0]
    assert resumed["status"] == "done"
    assert resumed["resumed_frames"] >= 16
    _extract(tmp_path / "clean", *arguments[:1], *arguments[3:], model=tiny_model)
    _assert_equal(store / "clip.h5", tmp_path / "clean" / "clip.h5")
    assert not list(store.rglob("piece_*"))
    assert not list(store.rglob("*gazetools-tmp*"))


_LIMITED = """
import resource, sys
limit = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from gazetools.cli.app import main
main(sys.argv[2:])
"""


def test_a_full_disk_is_4_and_the_rerun_finishes(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    arguments = ["extract", str(clip), "-o", str(tmp_path), "--model", str(tiny_model), "--json"]
    arguments += ["--batch-size", "1"]  # the limit holds for shared memory too: the ring must stay below it
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, "100000", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert "No space left" in json.loads(done.stdout)["error"]["message"]
    assert not list(tmp_path.rglob("*.h5"))
    assert not list(tmp_path.rglob("*gazetools-tmp*"))
    assert run_cli(*arguments).exit_code == 0


def test_a_folder_of_videos_with_boxes_by_id(tiny_model: Path, tmp_path: Path) -> None:
    for take in ("t1", "t2"):
        write_clip(tmp_path / "videos" / take / "cam01.mp4", frames=6)
    write_boxes(tmp_path / "heads" / "t1" / "cam01.csv", frames=range(6))
    result = _extract(tmp_path / "s", tmp_path / "videos", "--heads", f"file:{tmp_path / 'heads'}", model=tiny_model)
    assert [(item["video_id"], item["status"]) for item in result["items"]] == [
        ("t1/cam01", "done"),
        ("t2/cam01", "failed"),
    ]
    assert "No head-box file for video 't2/cam01'" in result["items"][1]["reason"]
    with open_store(tmp_path / "s" / "t1" / "cam01.h5") as store:
        assert store.video_id == "t1/cam01"


def test_the_python_call_takes_the_same_options(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    report = gazetools.extract(clip, tmp_path, model=str(tiny_model), stride=20)
    assert report.items[0].rows == 2
    with pytest.raises(gazetools.GazetoolsError, match="did you mean 'stride'"):
        gazetools.extract(clip, tmp_path, model=str(tiny_model), strid=20)
