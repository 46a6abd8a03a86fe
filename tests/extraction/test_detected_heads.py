"""`extract --heads detect`: the first pass is committed by itself, reused, and recorded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import gazetools
from gazetools.extraction.decoding.decoder import DecodeSettings
from gazetools.extraction.detected import HEADS_FOLDER
from gazetools.extraction.inputs import VideoItem
from gazetools.extraction.run import decode_settings
from gazetools.extraction.tasks import Task
from gazetools.extraction.work import WorkOrder
from gazetools.extraction.worker import Worker
from gazetools.gazemodels.gazelle.model import GazelleModel
from gazetools.heads.detection import HeadDetection
from gazetools.heads.files import read_heads
from gazetools.progress import NoProgress
from gazetools.schemas.extract import ExtractOptions
from gazetools.store import open_store
from gazetools.store.listing import list_store
from gazetools.store.lock import locked
from tests.heads.tiny_detectors import SquareDetector, write_person_detector, write_pose_model
from tests.helpers.clips import write_clip
from tests.helpers.command_line import run_cli


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> SquareDetector:
    """`detect` finds white squares, whatever its name."""
    detector = SquareDetector()
    monkeypatch.setattr(
        HeadDetection,
        "load",
        classmethod(lambda cls, options, hdr="tonemap": cls(options=options, detector=detector, hdr=hdr)),
    )
    return detector


def test_found_heads_become_rows_with_their_tracks_and_origin(
    clip: Path, tiny_model: Path, tmp_path: Path, squares: SquareDetector
) -> None:
    report = gazetools.extract(clip, tmp_path, model=str(tiny_model), heads="detect", stride=4)
    assert report.items[0].rows == 10
    assert report.profile is not None
    assert 0 < report.profile.detect < report.profile.wall
    assert report.profile.model_copy(update={"detect": 1e6}).bottleneck == "detect"
    boxes = read_heads(tmp_path / HEADS_FOLDER / "clip.csv")
    assert len(boxes) == 40, "the pass covers the whole video, whatever frames are asked for"
    with open_store(tmp_path / "clip.h5") as store:
        rows = store.rows()
        assert rows.frame.tolist() == list(range(0, 40, 4))
        assert rows.track_id.tolist() == [1] * 7 + [2] * 3
        wanted = boxes.normalised(width=96, height=64, frame_count=40).box_xyxy[::4]
        np.testing.assert_allclose(rows.box_xyxy, wanted, rtol=1e-6)
        origin = store.provenance.heads
        assert (origin.spec, origin.counts["tracks"]) == ("detect", 2)
        assert origin.detector is not None
        assert origin.detector["weights_sha256"] == squares.weights_sha256
        assert origin.detector["options"]["score"] == 0.5
    assert [entry.video_id for entry in list_store(tmp_path)] == ["clip"]
    # the folder is a source of boxes like any other
    again = gazetools.extract(
        clip, tmp_path / "again", model=str(tiny_model), heads=f"file:{tmp_path / HEADS_FOLDER}", stride=4
    )
    assert again.items[0].rows == 10


def test_a_run_stopped_after_the_first_pass_does_not_detect_again(
    clip: Path, tiny_model: Path, tmp_path: Path, squares: SquareDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(GazelleModel, "__call__", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            gazetools.extract(clip, tmp_path, model=str(tiny_model), heads="detect")
    assert squares.frames_seen == 40
    assert gazetools.extract(clip, tmp_path, model=str(tiny_model), heads="detect").items[0].status == "done"
    assert squares.frames_seen == 40
    assert gazetools.extract(clip, tmp_path, model=str(tiny_model), heads="detect").items[0].status == "complete"
    assert squares.frames_seen == 40


def test_gaps_are_filled_only_when_asked_and_packs_say_so(
    clip: Path, tiny_model: Path, tmp_path: Path, squares: SquareDetector
) -> None:
    settings = {"model": str(tiny_model), "heads": "detect", "detect_every": 2, "fill_gaps": 1}
    report = gazetools.extract(clip, tmp_path / "store", **settings)
    assert squares.frames_seen == 20
    assert report.items[0].rows == 38  # not between the two tracks, not after the last seen frame
    with open_store(tmp_path / "store" / "clip.h5") as store:
        assert store.provenance.heads.counts["filled_boxes"] == 18
        assert store.provenance.options["fill_gaps"] == 1
    gazetools.pack(tmp_path / "store", tmp_path / "dataset")
    manifest = json.loads((tmp_path / "dataset" / "manifest.json").read_text())
    assert manifest["videos"]["clip"]["uses_future"] is True
    with pytest.raises(gazetools.GazetoolsError, match="fill_gaps to at least 1"):
        gazetools.extract(clip, tmp_path / "other", **(settings | {"fill_gaps": 0}))


def test_a_video_without_people_is_a_normal_case(tiny_model: Path, tmp_path: Path, squares: SquareDetector) -> None:
    squares.score = 0.01
    empty = write_clip(tmp_path / "empty.mp4", frames=5)
    item = gazetools.extract(empty, tmp_path / "s", model=str(tiny_model), heads="detect").items[0]
    assert (item.status, item.frames, item.rows, item.frames_without_people) == ("done", 5, 0, 5)


def test_the_command_with_real_classes(tiny_model: Path, tmp_path: Path) -> None:
    detector, pose = write_person_detector(tmp_path / "detr"), write_pose_model(tmp_path / "pose")
    short = write_clip(tmp_path / "short.mp4", frames=4)
    arguments = ["extract", str(short), "-o", str(tmp_path / "s"), "--model", str(tiny_model), "--json"]
    arguments += ["--heads", f"detect:{detector}", "--pose", str(pose), "--detect-score", "0.02"]
    listing = json.loads(run_cli(*arguments, "--dry-run").stdout)
    assert listing["videos"][0]["heads"] == f"detect:{detector}"
    done = run_cli(*arguments)
    assert done.exit_code == 0, done.stderr
    item = json.loads(done.stdout)["items"][0]
    boxes = read_heads(tmp_path / "s" / HEADS_FOLDER / "short.csv")
    assert item["rows"] == len(boxes)
    assert item["frames"] == 4


def test_missing_detector_weights_are_3_and_nothing_is_done(
    clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAZETOOLS_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    done = run_cli("extract", str(clip), "-o", str(tmp_path / "s"), "--model", str(tiny_model), "--heads", "detect")
    assert done.exit_code == 3
    assert "hf download PekingU/rtdetr_r50vd" in done.stderr
    assert not list((tmp_path / "s").rglob("*.h5"))


def test_a_decoder_that_crashes_in_the_first_pass_costs_one_video(
    clip: Path, tiny_model: Path, tmp_path: Path, squares: SquareDetector
) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for name in ("clip", "good"):  # the fake crashes on `clip.mp4` alone
        (folder / f"{name}.mp4").write_bytes(clip.read_bytes())
    report = gazetools.extract(
        folder, tmp_path / "s", model=str(tiny_model), heads="detect", stride=8,
        decoding=DecodeSettings(reader="tests.extraction.fake_readers:CrashingReader"),
    )  # fmt: skip
    assert {item.video_id: item.status for item in report.items} == {"clip": "failed", "good": "done"}
    assert "SIGSEGV" in str(report.failed[0].reason)


def test_a_share_waits_while_another_worker_detects(
    clip: Path, tiny_model: Path, tmp_path: Path, squares: SquareDetector
) -> None:
    options = ExtractOptions(model=str(tiny_model), device="cpu", heads="detect", stride=8)
    order = WorkOrder(store=tmp_path, options=options, decoding=decode_settings(options), video_ids=["clip"])
    share = Task(item=VideoItem(video_id="clip", path=clip), cost=1.0, share_index=1, share_count=2)
    with Worker(order, NoProgress()) as worker:
        with locked(tmp_path, "heads clip"):  # as a worker holds it that does the first share
            assert worker.start(share).result() is None
            assert squares.frames_seen == 0
        done = worker.start(share).result()
        assert done is not None
        assert done.status == "done"  # the one piece of the video belongs to this share
        detected = squares.frames_seen
        assert detected > 0
        assert worker.start(share).result().status == "complete"  # type: ignore[union-attr]
        assert squares.frames_seen == detected


def test_boxes_found_in_other_pictures_are_not_used_again(
    clip: Path, tiny_model: Path, tmp_path: Path, squares: SquareDetector
) -> None:
    """`--hdr` changes the pixels that the detector sees, so that its boxes can't serve both."""
    for hdr, seen in (("tonemap", 40), ("raw", 80), ("raw", 80), ("tonemap", 120)):
        gazetools.extract(clip, tmp_path, model=str(tiny_model), heads="detect", hdr=hdr, overwrite=True)
        if hdr == "raw":
            assert squares.frames_seen == seen
    plain = HeadDetection(options=ExtractOptions(heads="detect").detection(), detector=squares)
    assert plain.key(clip) != dataclasses.replace(plain, hdr="raw").key(clip)
